"""Train batch normalisation alone (Chen et al. 2021, "BN-NAS", section 3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from torch import nn

from core.settings import Named
from models.nets.shared_cells import SlicedNorm
from models.training.strategies.base import Task, last_layers
from models.training.strategies.spos import SinglePath


class BatchNormOnlySettings(Named):
    """Of the strategy `bn_only`."""

    name: Literal["bn_only"] = "bn_only"


class BatchNormOnly(SinglePath):
    """Single random paths, of which only batch norms and the last layer are trained.

    All other weights are frozen at their random initial values (no gradient, no optimiser state).
    The BN indicator needs only the scales gamma, and converges early.
    """

    settings_type = BatchNormOnlySettings

    def __init__(self, task: Task, settings: Named) -> None:
        super().__init__(task, settings)
        self.supernet.requires_grad_(False)
        for module in self.supernet.modules():
            if isinstance(module, SlicedNorm):
                module.requires_grad_(True)
        for layer in last_layers(self.supernet):
            layer.requires_grad_(True)

    def trainable(self) -> Iterable[nn.Parameter]:
        """Batch norms' scales and shifts, and the last layer."""
        return [p for p in self.supernet.parameters() if p.requires_grad]
