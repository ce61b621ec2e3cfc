"""The table of training strategies. To add one, add a file here and a line below."""

from __future__ import annotations

from collections.abc import Mapping

from stages.supernet.strategies.base import Strategy, Task
from stages.supernet.strategies.bn_only import BatchNormOnly
from stages.supernet.strategies.fair import Fair
from stages.supernet.strategies.pi import CrossPath
from stages.supernet.strategies.sandwich import Sandwich
from stages.supernet.strategies.spos import SinglePath

STRATEGIES: Mapping[str, type[Strategy]] = {
    strategy.name: strategy
    for strategy in (
        SinglePath,
        Fair,
        Sandwich,
        BatchNormOnly,
        CrossPath,
    )
}

__all__ = ["STRATEGIES", "Strategy", "Task"]
