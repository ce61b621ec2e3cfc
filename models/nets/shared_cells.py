"""Weight-sharing cells of the supernet: a smaller cell is a slice of the largest.

Axes: N images, C channels, H height, W width, O and I a weight's outputs and inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.distributed import joint_statistics
from models.space.operators.base import Affine, Cell, Conv, Pointwise

Convs = dict[str, list[Conv]]
"""By candidate, all its shapes in the space."""
EPS, MOMENTUM = 1e-5, 0.1
"""Of batch norms; PyTorch's defaults."""
_NARROW = (torch.bfloat16, torch.float16)
"""Types too imprecise for statistics over many pixels."""


def joint_batch_norm(
    x_NCHW: Tensor, affine: tuple[Tensor, Tensor], running: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Normalise by the statistics of all processes, each with an equal share of the batch.

    Args:
        x_NCHW: this process's share.
        affine: scale and shift per channel.
        running: mean and variance to update; None to leave them.
    """
    wide_NCHW = x_NCHW.float() if x_NCHW.dtype in _NARROW else x_NCHW
    mean_C, var_C, count = joint_statistics(wide_NCHW)
    if running is not None:
        with torch.no_grad():
            running[0].lerp_(mean_C, MOMENTUM)
            running[1].lerp_(var_C * (count / (count - 1)), MOMENTUM)
    scale_C = affine[0] * (var_C + EPS).rsqrt()
    shift_C = affine[1] - mean_C * scale_C
    out_NCHW = wide_NCHW * scale_C[:, None, None] + shift_C[:, None, None]
    return out_NCHW.to(x_NCHW.dtype)


class SlicedNorm(nn.Module):
    """Batch normalisation that is sliced to the first channels for narrower blocks.

    Attributes:
        synchronised: in training, normalise over the images of all processes.
    """

    synchronised = False
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x_NCHW: Tensor, update_statistics: bool = True) -> Tensor:
        """Use batch statistics in training, running statistics in evaluation."""
        weight_C, bias_C, mean_C, var_C = self._sliced(x_NCHW.shape[1])
        tracked = update_statistics or not self.training
        if self.training and self.synchronised:
            running = (mean_C, var_C) if tracked else None
            return joint_batch_norm(x_NCHW, (weight_C, bias_C), running)
        return functional.batch_norm(
            x_NCHW,
            mean_C if tracked else None,
            var_C if tracked else None,
            weight_C,
            bias_C,
            training=self.training,
            momentum=MOMENTUM,
            eps=EPS,
        )

    def _sliced(self, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        whole = (self.weight, self.bias, self.running_mean, self.running_var)
        if channels == len(self.weight):
            return whole  # slicing would allocate another full-size gradient
        weight_C, bias_C, mean_C, var_C = (tensor[:channels] for tensor in whole)
        return weight_C, bias_C, mean_C, var_C


class SharedConvNorm(nn.Module):
    """A convolution of the largest shape, with one batch norm per candidate."""

    def __init__(self, by_candidate: Convs) -> None:
        super().__init__()
        shapes = [cell for candidate in by_candidate.values() for cell in candidate]
        kernel = max(cell.kernel for cell in shapes)
        inputs = 1 if shapes[0].depthwise else max(cell.in_channels for cell in shapes)
        outputs = max(cell.out_channels for cell in shapes)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.norms = nn.ModuleDict(
            {
                name: SlicedNorm(max(cell.out_channels for cell in candidate))
                for name, candidate in by_candidate.items()
            }
        )

    def kernel_of(self, cell: Conv) -> Tensor:
        """The slice (O, I, kernel, kernel) of the shared weight for `cell`."""
        inputs = 1 if cell.depthwise else cell.in_channels
        shape = (cell.out_channels, inputs, cell.kernel, cell.kernel)
        if shape == self.weight.shape:
            return self.weight
        # One view: indexing would allocate a full-size gradient per sliced axis.
        stride = self.weight.stride()
        border = (self.weight.shape[2] - cell.kernel) // 2
        start = self.weight.storage_offset() + border * (stride[2] + stride[3])
        return self.weight.as_strided(shape, stride, start)

    def forward(
        self, x_NCHW: Tensor, cell: Conv, candidate: str, update_statistics: bool
    ) -> Tensor:
        """Compute `cell` with its weight slice and the candidate's batch norm."""
        # Once; otherwise the convolution copies it in the forward and in the backward pass.
        weight_OIHW = self.kernel_of(cell).contiguous(memory_format=torch.channels_last)
        out_NCHW = functional.conv2d(
            x_NCHW,
            weight_OIHW,
            stride=cell.stride,
            padding=cell.kernel // 2,
            groups=cell.in_channels if cell.depthwise else 1,
        )
        normed_NCHW: Tensor = self.norms[candidate](out_NCHW, update_statistics)
        return normed_NCHW


class SharedAffine(nn.Module):
    """Weight and bias of the largest shape; a cell uses the first rows and columns."""

    def __init__(self, shapes: Sequence[Affine]) -> None:
        super().__init__()
        outputs = max(cell.out_channels for cell in shapes)
        inputs = max(cell.in_channels for cell in shapes)
        kernel = (1, 1) if isinstance(shapes[0], Pointwise) else ()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *kernel))
        self.bias = nn.Parameter(torch.empty(outputs))

    def slices_of(self, cell: Affine) -> tuple[Tensor, Tensor]:
        """Slices of weight and bias for `cell`."""
        outputs = cell.out_channels
        return self.weight[:outputs, : cell.in_channels], self.bias[:outputs]

    def forward(self, x: Tensor, cell: Affine) -> Tensor:
        """Features (N, in) to (N, out), or (N, in, 1, 1) to (N, out, 1, 1)."""
        compute = functional.linear if self.weight.dim() == 2 else functional.conv2d
        return compute(x, *self.slices_of(cell))


def slices(shared: nn.Module, cell: Cell, candidate: str) -> dict[str, Tensor]:
    """Slices of a shared module for `cell`, by the names of the plain module's tensors."""
    if isinstance(shared, SharedAffine):
        assert isinstance(cell, Affine)
        return dict(zip(("weight", "bias"), shared.slices_of(cell), strict=True))
    assert isinstance(shared, SharedConvNorm)
    assert isinstance(cell, Conv)
    norm, channels = shared.norms[candidate], cell.out_channels
    names = ("weight", "bias", "running_mean", "running_var")
    of_norm = {f"norm.{name}": getattr(norm, name)[:channels] for name in names}
    return {"conv.weight": shared.kernel_of(cell)} | of_norm


def shared_cell(by_candidate: dict[str, list[Cell]]) -> nn.Module:
    """Build the shared module of one cell for all its shapes, which are of one type."""
    shapes = [cell for candidate in by_candidate.values() for cell in candidate]
    affine = [cell for cell in shapes if isinstance(cell, Affine)]
    return SharedAffine(affine) if affine else SharedConvNorm(cast(Convs, by_candidate))
