"""The table of training strategies. To add one, add a file here and a line below."""

from __future__ import annotations

from collections.abc import Mapping

from core.settings import Named
from models.training.strategies.base import Strategy, Task
from models.training.strategies.bn_only import BatchNormOnly
from models.training.strategies.fair import Fair
from models.training.strategies.pi import CrossPath
from models.training.strategies.sandwich import Sandwich
from models.training.strategies.spos import SinglePath

STRATEGIES: Mapping[str, type[Strategy]] = {
    strategy.settings_type.entry(): strategy
    for strategy in (
        SinglePath,
        Fair,
        Sandwich,
        BatchNormOnly,
        CrossPath,
    )
}


def build_strategy(task: Task, settings: Named) -> Strategy:
    """Build the strategy of these settings."""
    return STRATEGIES[settings.name](task, settings)


__all__ = ["STRATEGIES", "Strategy", "Task", "build_strategy"]
