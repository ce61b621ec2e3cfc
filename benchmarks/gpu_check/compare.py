"""Trainings on two devices: what is compared, by which measure and within which limits.

Training amplifies rounding: on a CPU, two memory layouts of the same float32 run differ by 3e-4 of
the update after one step, and by 0.1 of it after twelve. So float32 is compared after ONE step, and
several steps in float64, where a different result is a different computation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.gpu_check.record import Value

Weights = dict[str, Tensor]


class Limit(NamedTuple):
    """Largest differences that pass, see `differences`."""

    loss: float
    weights: float


LIMITS: Mapping[torch.dtype, Limit] = {
    torch.float64: Limit(1e-8, 1e-6),
    torch.float32: Limit(2e-5, 3e-2),
}
"""Between two layouts on one CPU: float64 up to 4e-12 and 2e-12 (`pi`), float32 up to 2e-6 and
3e-3. TF32 would exceed the limit of the loss: bfloat16 gives 2e-4 to 8e-3, and TF32 has three more
bits."""
STEPS: Mapping[torch.dtype, int] = {torch.float64: 4, torch.float32: 1}
NAMES = {torch.float64: "float64", torch.float32: "float32"}


class Trained(NamedTuple):
    """A training: weights and statistics before and after it, on the CPU, and the losses."""

    start: Weights
    end: Weights
    losses: Sequence[float]


def weights_of(module: nn.Module) -> Weights:
    """Copies of all parameters and buffers, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def differences(one: Trained, other: Trained, kind: torch.dtype) -> list[Value]:
    """The largest difference of a step's loss, and that of the weights as a share of the update.

    The latter is the norm of the difference over the norm of what `one` learned, over all weights
    and statistics together.
    """
    pairs = zip(one.losses, other.losses, strict=True)
    loss = max(abs(a - b) for a, b in pairs)
    apart, learned = distance(one.end, other.end), distance(one.end, one.start)
    steps = f"{NAMES[kind]}, {len(one.losses)} step" + "s" * (len(one.losses) > 1)
    return [
        Value.of(f"{steps}: loss differs by", loss, LIMITS[kind].loss),
        Value.of(f"{steps}: weights by", float(apart / learned), LIMITS[kind].weights),
    ]


def distance(one: Weights, other: Weights) -> Tensor:
    """Euclidean distance of all tensors together, in float64."""
    squares = [(one[name].double() - other[name].double()).square().sum() for name in one]
    return torch.stack(squares).sum().sqrt()


@contextmanager
def computing_in(kind: torch.dtype) -> Iterator[None]:
    """Networks that are built inside have weights of this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def cast_inputs(module: nn.Module, kind: torch.dtype) -> None:
    """Let a module convert its images, which are float32, to the type of its weights."""

    def convert(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (arguments[0].to(kind), *arguments[1:])

    module.register_forward_pre_hook(convert)
