"""How much memory a block's tensors need at once, found by following its own `forward`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.architecture import Block
from models.operators.base import Cell, Operator

_STAND_INS = (11, 13, 17, 19)
"""Heights and widths of the tensors that are followed in place of the real ones."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Note which storages every step touches; views and steps in place share their input's."""

    def __init__(self, sizes: Mapping[int, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sizes = sizes  # by stand-in
        self.steps: list[set[int]] = []
        self.bytes: dict[int, int] = {}
        self._kept: list[Tensor] = []  # or a later storage could get an earlier one's identity

    def touch(self, tensors: Iterable[Any]) -> set[int]:
        """The storages of those values that are tensors."""
        found = set()
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._kept.append(tensor)
                if storage._cdata not in self.bytes:
                    # Only maps (N, C, H, W) have heights and widths: with other numbers of axes
                    # the third may count splits, for example, and stands for itself.
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
    """The largest sum of a block's simultaneously live tensors: float32, one image, inference.

    The rule: a cell (a convolution with its batch norm folded in, a fully connected layer) makes
    one tensor, and so does every other step of `forward` that is neither a view nor done in
    place, as activations and residual sums are. A tensor is live from the step that makes it to
    the last step that reads it; the block's input from the start; its output to the end. Weights
    and a runtime's own scratch memory do not count.

    The tensors that are followed have a few pixels in place of the real ones: which are live does
    not depend on heights and widths. Tensors without memory (torch's meta device) would take ten
    times as long.
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
