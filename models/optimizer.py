"""An optimiser whose work is that of the sampled path, however many parameters lie beside it.

A supernet of a large space has tens of thousands of parameters of which a step touches a few
hundred. `torch.optim` walks over all of them twice a step; here nothing does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

OptimizerName = Literal["sgd", "adamw"]
_BETA2 = 0.999
"""AdamW's memory of squared gradients, as its authors have it."""


class PathOptimizer:
    """SGD with Nesterov momentum, or AdamW, over parameters that got a gradient since `forget`.

    Momentum exists only for parameters that were ever touched. Matrices and kernels decay; batch
    norms and biases do not.

    Args:
        parameters: everything that may learn; their gradients are dropped.
        momentum: of SGD, 0 for none; AdamW's beta1.
        weight_decay: of what has more than one axis; with AdamW it is decoupled from the gradient
            (Loshchilov and Hutter 2019).
        name: which of the two.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        momentum: float,
        weight_decay: float,
        name: OptimizerName = "sgd",
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizer: torch.optim.Optimizer
        if name == "sgd":
            self.optimizer = torch.optim.SGD(groups, momentum=momentum, nesterov=momentum > 0)
        else:
            self.optimizer = torch.optim.AdamW(groups, betas=(momentum, _BETA2))
        self._touched: dict[int, nn.Parameter] = {}
        for place, parameter in enumerate(parameters):
            parameter.grad = None
            parameter.register_post_accumulate_grad_hook(_noting(place, self._touched))  # type: ignore[no-untyped-call]

    def gradients(self) -> list[Tensor]:
        """Every gradient there is, in the order of the parameters."""
        return [p.grad for p in self.touched() if p.grad is not None]

    def forget(self) -> None:
        """Drop all gradients."""
        for parameter in self._touched.values():
            parameter.grad = None
        self._touched.clear()

    def step(self, rate: float) -> None:
        """Move the parameters that have a gradient.

        Args:
            rate: the learning rate.
        """
        everything = [group["params"] for group in self.optimizer.param_groups]
        path = self.touched()
        for group, decays in zip(self.optimizer.param_groups, (True, False), strict=True):
            group["lr"] = rate
            group["params"] = [p for p in path if (p.dim() > 1) == decays]
        self.optimizer.step()
        for group, whole in zip(self.optimizer.param_groups, everything, strict=True):
            group["params"] = whole

    def touched(self) -> list[nn.Parameter]:
        """The parameters that have a gradient, in order."""
        return [self._touched[place] for place in sorted(self._touched)]


def _noting(place: int, touched: dict[int, nn.Parameter]) -> Callable[[Tensor], None]:
    def note(parameter: Tensor) -> None:
        assert isinstance(parameter, nn.Parameter)
        touched[place] = parameter

    return note
