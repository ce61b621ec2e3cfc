"""Peak activation memory of a block, found by tracing its `forward`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.space.architecture import Block
from models.space.operators.base import Cell, Operator

_STAND_INS = (11, 13, 17, 19)
"""Small heights and widths that replace the real ones while tracing."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record the storages used by every op; views and in-place ops share their input's."""

    def __init__(self, sizes: Mapping[int, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sizes = sizes  # by stand-in
        self.steps: list[set[int]] = []
        self.bytes: dict[int, int] = {}
        self._kept: list[Tensor] = []  # keep alive, so that storage ids are not reused

    def touch(self, tensors: Iterable[Any]) -> set[int]:
        """Storages of the tensors among the values."""
        found = set()
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._kept.append(tensor)
                if storage._cdata not in self.bytes:
                    # Only 4-D tensors (N, C, H, W) have heights and widths.
                    sides = tensor.shape[2:] if tensor.dim() == 4 else ()
                    others = tensor.numel() // math.prod(sides)
                    real = math.prod(self._sizes.get(side, side) for side in sides)
                    self.bytes[storage._cdata] = tensor.element_size() * others * real
                found.add(storage._cdata)
        return found

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.steps.append(self.touch(tree_leaves((args, kwargs, out))))
        return out


def activation_bytes(operator: Operator, block: Block, cells: dict[str, Cell]) -> int:
    """Peak bytes of a block's simultaneously live tensors: float32, one image, inference.

    A cell (a convolution with folded batch norm, a fully connected layer) allocates one tensor, and
    so does every other op of `forward` that is neither a view nor in place. A tensor is live from
    the op that allocates it to the last op that reads it; the block's input from the start, its
    output to the end. Weights and scratch memory of a runtime are not counted.

    Tracing uses small heights and widths, on which liveness does not depend; the meta device would
    be ten times slower.
    """
    free = (number for number in _STAND_INS if number not in (block.size, block.out_size))
    small = {size: next(free) for size in {block.size, block.out_size} - {1}}

    def run(name: str, x: Tensor) -> Tensor:
        channels, *sides = cells[name].out_shape
        return x.new_zeros(1, channels, *(small.get(side, side) for side in sides))

    side = small.get(block.size, block.size)
    source = torch.zeros(1, block.in_channels, side, side)
    recorder = _Recorder({stand_in: size for size, stand_in in small.items()})
    with torch.no_grad(), recorder:
        first = recorder.touch([source])
        last = recorder.touch([operator.forward(block, source, run)])
    steps = [first, *recorder.steps, last]
    touched: dict[int, list[int]] = {}
    for number, storages in enumerate(steps):
        for storage in storages:
            touched.setdefault(storage, []).append(number)
    live = [
        sum(recorder.bytes[s] for s, at in touched.items() if at[0] <= number <= at[-1])
        for number in range(len(steps))
    ]
    return max(live)
