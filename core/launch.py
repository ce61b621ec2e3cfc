"""A stage in several processes on this machine: torchrun on the loopback interface."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import torch

from core.distributed import Processes, join, launched
from core.settings import ParamsError

_PR_SET_PDEATHSIG = 1
_LOOPBACK = "lo" if sys.platform.startswith("linux") else "lo0"


def relaunch(stage: str, arguments: Sequence[str], processes: int, threads: int) -> NoReturn:
    """Replace this process by torchrun with `processes` times `python -m stages NAME arguments`.

    It is replaced instead of waited for, so that killing this process kills the run.

    Args:
        stage: its name.
        arguments: its flags.
        processes: how many.
        threads: of each of them.
    """
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    # Port 0: the system gives a free one.
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    loopback = {"GLOO_SOCKET_IFNAME": _LOOPBACK, "NCCL_SOCKET_IFNAME": _LOOPBACK}
    environment = loopback | dict(os.environ) | {"OMP_NUM_THREADS": str(threads)}
    sys.stdout.flush()
    os.execve(sys.executable, [*command, "-m", "stages", stage, *arguments], environment)


def select_device(section: str, kind: str, processes: int) -> torch.device:
    """Select the device on which this process computes.

    Args:
        section: of the params, for the message.
        kind: `cpu`, or `cuda`: every process has its own GPU.
        processes: how many there are.

    Raises:
        ParamsError: there are not enough GPUs.
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
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent torchrun is killed."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def join_processes(section: str, count: int, device: torch.device) -> Processes:
    """Join the stage's process group; a single process if torchrun did not start this one.

    Args:
        section: of the params, whose `processes` is `count`.
        count: the expected number of processes.
        device: where they compute.

    Raises:
        ParamsError: torchrun started a different number of processes.
    """
    if launched():
        die_with_parent()
    processes = join(device)
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
