"""Data parallelism: several processes train on equal shares of each batch.

Every process holds the whole network. After each step gradients, batch norm statistics and strategy
state are equal on all processes, as if one process had seen the whole batch. Communication uses
gloo on CPUs and NCCL on GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional


@dataclass(frozen=True)
class Processes:
    """Rank and world size.

    Attributes:
        rank: from 0.
        count: world size; 1 needs no communication.
    """

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


def join(device: torch.device) -> Processes:
    """Initialise the process group if started by torchrun; else return a single process."""
    if not launched():
        return ALONE
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Processes(distributed.get_rank(), distributed.get_world_size())


class _Sum(torch.autograd.Function):
    """Differentiable all-reduce (sum)."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        """Sum values over processes."""
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Sum gradients over processes."""
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def joint_statistics(x_NCHW: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance per channel over the images of all processes; differentiable.

    Moments are combined by the formula of Chan et al. (1979) for equal counts, which is stable for
    large means. One all-reduce forward, one backward.

    Args:
        x_NCHW: this process's equal share.

    Returns:
        Mean (C,), variance (C,), and the number of values per channel.
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
