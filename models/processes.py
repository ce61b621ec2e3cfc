"""Several processes that learn one batch together, each its share (data parallelism).

Every process holds the whole network and takes the same steps: gradients, batch norms' statistics
and what a strategy remembers are the same on all of them after each step, as if one process had
seen the whole batch. The transport is gloo between processors and NCCL between graphics cards.
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
    """Which of how many processes this one is.

    Attributes:
        rank: from 0.
        count: how many there are; 1 needs no communication.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one process that prints and writes."""
        return self.rank == 0

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over all processes, in one message.

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
        """The rows of all processes, by rank: the order of the undivided batch."""
        if self.count == 1:
            return rows
        found = [torch.empty_like(rows) for _ in range(self.count)]
        distributed.all_gather(found, rows.contiguous())
        return torch.cat(found)

    def leave(self) -> None:
        """End the communication; what follows is done by each process alone."""
        if self.count > 1:
            distributed.destroy_process_group()


ALONE = Processes()


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def join(device: torch.device) -> Processes:
    """Meet the other processes that torchrun started; alone where it did not."""
    if not launched():
        return ALONE
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Processes(distributed.get_rank(), distributed.get_world_size())


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes, through which gradients flow back to all of them."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        """Add up values."""
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add up gradients."""
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def joint_statistics(x_NCHW: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance per channel over the images of all processes; differentiable.

    The third value is how many numbers per channel they come from.

    The processes' moments are combined by the formula of Chan et al. (1979) for equal counts, so
    that a large mean costs no precision. One message forward, one backward.

    Args:
        x_NCHW: this process's equal share.
    """
    variance_C, mean_C = torch.var_mean(x_NCHW, (0, 2, 3), correction=0)
    mine_1XC = torch.stack([mean_C, variance_C])[None]
    rank, count = distributed.get_rank(), distributed.get_world_size()
    # Everybody adds its row to zeros: a gather whose gradient is again one message.
    placed_PXC = functional.pad(mine_1XC, (0, 0, 0, 0, rank, count - 1 - rank))
    means_PC, variances_PC = _Sum.apply(placed_PXC).unbind(1)
    joint_C = means_PC.mean(0)
    variance_C = variances_PC.mean(0) + (means_PC - joint_C).square().mean(0)
    return joint_C, variance_C, count * x_NCHW.numel() // x_NCHW.shape[1]
