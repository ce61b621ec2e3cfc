"""The table of training strategies. A new one is one file here and one line below."""

from __future__ import annotations

from collections.abc import Mapping

from stages.supernet.strategies.base import Strategy
from stages.supernet.strategies.spos import SinglePath

STRATEGIES: Mapping[str, type[Strategy]] = {strategy.name: strategy for strategy in (SinglePath,)}

__all__ = ["STRATEGIES", "Strategy"]
