"""Interleaved timing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Call = Callable[[], object]
WARM_UP = 2


@dataclass(frozen=True)
class Timing:
    """Seconds per call of one thing, one number a block."""

    blocks: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The median over blocks."""
        return statistics.median(self.blocks)

    def over(self, other: Timing) -> tuple[float, float]:
        """Median of the ratios block by block, and the distance of the largest and the smallest."""
        ratios = [a / b for a, b in zip(self.blocks, other.blocks, strict=True)]
        return statistics.median(ratios), max(ratios) - min(ratios)


def seconds(call: Call, calls: int) -> float:
    """Mean seconds of a call."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


def interleaved(things: Mapping[str, Call], blocks: int, calls: int) -> dict[str, Timing]:
    """Time several things in turn, because a shared machine drifts for seconds at a time.

    Each is called WARM_UP times before anything is timed; the order alternates between the blocks.
    """
    for call in things.values():
        seconds(call, WARM_UP)
    found: dict[str, list[float]] = {name: [] for name in things}
    for block in range(blocks):
        for name in list(things)[:: 1 if block % 2 else -1]:
            found[name].append(seconds(things[name], calls))
    return {name: Timing(tuple(times)) for name, times in found.items()}
