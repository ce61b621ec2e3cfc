"""An optimiser whose cost per step depends only on the sampled path.

A step touches a few hundred of the tens of thousands of parameter tensors of a large supernet;
`torch.optim` would iterate over all of them twice per step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

OptimizerName = Literal["sgd", "adamw"]
_BETA2 = 0.999
"""AdamW's decay of squared gradients; default of the paper."""


class PathOptimizer:
    """SGD with Nesterov momentum or AdamW over the parameters with a gradient since `zero_grad`.

    Optimiser state exists only for parameters that ever had a gradient. Weight decay applies to
    weights with more than one axis, not to batch norms and biases; it is decoupled with AdamW
    (Loshchilov and Hutter 2019), whose beta1 is `momentum`.
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
            hook = partial(self._touched.__setitem__, place)
            parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    def gradients(self) -> list[Tensor]:
        """All gradients, in the order of the parameters."""
        return [p.grad for p in self.touched() if p.grad is not None]

    def zero_grad(self) -> None:
        """Clear all gradients (set to None)."""
        for parameter in self._touched.values():
            parameter.grad = None
        self._touched.clear()

    def step(self, rate: float) -> None:
        """Update the parameters that have a gradient, with this learning rate."""
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
