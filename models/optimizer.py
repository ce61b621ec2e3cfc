"""SGD whose work is that of the sampled path, however many parameters lie beside it.

A supernet of a large space has tens of thousands of parameters of which a step touches a few
hundred. `torch.optim` walks over all of them twice a step; here nothing does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class PathOptimizer:
    """SGD with Nesterov momentum over those parameters that got a gradient since `forget`.

    Momentum exists only for parameters that were ever touched. Matrices and kernels decay; batch
    norms and biases do not.

    Args:
        parameters: everything that may learn; their gradients are dropped.
        momentum: 0 for none.
        weight_decay: of what has more than one axis.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], momentum: float, weight_decay: float
    ) -> None:
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.sgd = torch.optim.SGD(groups, momentum=momentum, nesterov=momentum > 0)
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
        everything = [group["params"] for group in self.sgd.param_groups]
        path = self.touched()
        for group, decays in zip(self.sgd.param_groups, (True, False), strict=True):
            group["lr"] = rate
            group["params"] = [p for p in path if (p.dim() > 1) == decays]
        self.sgd.step()
        for group, whole in zip(self.sgd.param_groups, everything, strict=True):
            group["params"] = whole

    def touched(self) -> list[nn.Parameter]:
        """The parameters that have a gradient, in order."""
        return [self._touched[place] for place in sorted(self._touched)]


def _noting(place: int, touched: dict[int, nn.Parameter]) -> Callable[[Tensor], None]:
    def note(parameter: Tensor) -> None:
        assert isinstance(parameter, nn.Parameter)
        touched[place] = parameter

    return note
