"""Data parallelism: several processes on this machine train on equal shares of each batch.

Every process holds the whole network. After each step gradients, batch norm statistics and strategy
state are equal on all processes, as if one process had seen the whole batch. torchrun starts them;
communication uses gloo on CPUs and NCCL on GPUs, through the loopback interface. NCCL is UNVERIFIED
(no hardware available): `make gpu-check`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, distributed
from torch.nn import functional

from core.settings import ParamsError
from core.system import end_with_parent

_LOOPBACK = "lo" if sys.platform.startswith("linux") else "lo0"


@dataclass(frozen=True)
class Processes:
    """Rank (from 0) and number of processes; one alone needs no communication."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes files (rank 0)."""
        return self.rank == 0

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over all processes, in one all-reduce.

        All processes must pass tensors of the same shapes in the same order.
        """
        if self.count == 1 or not tensors:
            return
        message = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(message)
        message /= self.count
        pieces = torch.split(message, [tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor.copy_(piece.view(tensor.shape))

    def gather(self, rows: Tensor) -> Tensor:
        """Concatenate the rows of all processes by rank, i.e. in the order of the whole batch."""
        if self.count == 1:
            return rows
        found = [torch.empty_like(rows) for _ in range(self.count)]
        distributed.all_gather(found, rows.contiguous())
        return torch.cat(found)

    def leave(self) -> None:
        """Destroy the process group."""
        if self.count > 1:
            distributed.destroy_process_group()


ALONE = Processes()


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def relaunch(stage: str, arguments: Sequence[str], processes: int, threads: int) -> NoReturn:
    """Replace this process by torchrun with `processes` times `python -m stages NAME arguments`.

    It is replaced instead of waited for, so that killing this process kills the run.
    """
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    # Port 0: the system gives a free one.
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    loopback = {"GLOO_SOCKET_IFNAME": _LOOPBACK, "NCCL_SOCKET_IFNAME": _LOOPBACK}
    environment = loopback | dict(os.environ) | {"OMP_NUM_THREADS": str(threads)}
    sys.stdout.flush()
    os.execve(sys.executable, [*command, "-m", "stages", stage, *arguments], environment)


def select_device(section: str, kind: str, processes: int) -> torch.device:
    """Select the device on which this process computes: with `cuda` each has its own GPU.

    On a GPU, float32 is IEEE float32, as on the CPU: TF32, torch's default for convolutions, keeps
    10 bits of the mantissa.

    Raises:
        ParamsError: there are fewer GPUs than processes.
    """
    if kind == "cpu":
        return torch.device("cpu")
    found = torch.cuda.device_count()
    if found < processes:
        raise ParamsError(
            f"{section}.device: cuda with {section}.processes: {processes} needs {processes} "
            f"GPU(s), but torch finds {found}. Use device: cpu or fewer processes."
        )
    # Required for deterministic cuBLAS; must be set before it is initialised.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def join(section: str, count: int, device: torch.device) -> Processes:
    """Join the stage's process group; a single process if torchrun did not start this one.

    Raises:
        ParamsError: torchrun started another number of processes than `section` sets.
    """
    processes = ALONE
    if launched():
        end_with_parent()  # torchrun
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        processes = Processes(distributed.get_rank(), distributed.get_world_size())
    if processes.count != count:
        raise ParamsError(
            f"torchrun started {processes.count} processes, and {section}.processes is "
            f"{count}: results depend on it, so the two must agree."
        )
    return processes


def check_parts(batch: int, parts: int) -> None:
    """Check that a batch divides into `parts` equal parts of at least two images.

    Raises:
        ValueError: it does not; batch norm needs two images.
    """
    if batch % parts or batch // parts < 2:
        raise ValueError(
            f"a batch of {batch} images cannot be divided into {parts} equal parts of at least 2 "
            "(processes times accumulate): choose another batch or fewer parts"
        )


class _Sum(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradients[0])


def joint_statistics(x_NCHW: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean (C,) and biased variance (C,) over the images of all processes; differentiable.

    The third value is the number of values per channel. Moments are combined by the formula of Chan
    et al. (1979) for equal counts, which is stable for large means. One all-reduce forward, one
    backward.

    Args:
        x_NCHW: this process's equal share.
    """
    variance_C, mean_C = torch.var_mean(x_NCHW, (0, 2, 3), correction=0)
    own_1XC = torch.stack([mean_C, variance_C])[None]
    rank, count = distributed.get_rank(), distributed.get_world_size()
    # An all-gather by summing zero-padded rows; its gradient is again one all-reduce.
    placed_PXC = functional.pad(own_1XC, (0, 0, 0, 0, rank, count - 1 - rank))
    means_PC, variances_PC = _Sum.apply(placed_PXC).unbind(1)
    joint_C = means_PC.mean(0)
    variance_C = variances_PC.mean(0) + (means_PC - joint_C).square().mean(0)
    return joint_C, variance_C, count * x_NCHW.numel() // x_NCHW.shape[1]
