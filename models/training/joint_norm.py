"""Synchronised batch norm over several processes; `torch.nn.SyncBatchNorm` does not support CPUs.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from core.distributed import Processes, joint_statistics


class JointNorm(nn.BatchNorm2d):
    """A batch norm whose training statistics cover the equal shares of all processes.

    Args:
        norm: the batch norm whose parameters and running statistics are shared.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.train(norm.training)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if not self.training:
            return super().forward(x_NCHW)
        mean_C, var_C, count = joint_statistics(x_NCHW)
        self._track(mean_C.detach(), var_C.detach() * (count / (count - 1)))
        scale_C = self.weight * (var_C + self.eps).rsqrt()
        shift_C = self.bias - mean_C * scale_C
        return x_NCHW * scale_C[:, None, None] + shift_C[:, None, None]

    @torch.no_grad()
    def _track(self, mean_C: Tensor, var_C: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(var_C, self.momentum)
        self.num_batches_tracked.add_(1)


@contextmanager
def joint_norms(network: nn.Module, processes: Processes) -> Iterator[None]:
    """Context manager: replace batch norms by `JointNorm`; no-op for one process.

    Args:
        network: its original batch norms are restored afterwards, with the trained values.
        processes: the processes that share each batch.
    """
    places = []
    if processes.count > 1:
        places = [
            (parent, name, child)
            for parent in network.modules()
            for name, child in parent.named_children()
            if isinstance(child, nn.BatchNorm2d)
        ]
    for parent, name, norm in places:
        setattr(parent, name, JointNorm(norm))
    try:
        yield
    finally:
        for parent, name, norm in places:
            norm.train(getattr(parent, name).training)
            setattr(parent, name, norm)
