"""Time one session against another where the machine's speed drifts: see devices.measure.

Axes: N blocks, 2 sessions (the model, the reference).
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .blocks import Block, Runner, Scheduler

LEAST_BLOCKS = 6
"""Fewer have no interval that holds their median with 95% confidence."""
PATIENCE, LONG_PATIENCE = 2, 4
"""Disturbed blocks are measured again until there are this many times `blocks` in all, and those
that ran on a slowed core until there are that many times."""
AT_A_TIME = 3
SLOWED = 1.05
"""A block that takes more than this many times the quickest one's time ran on a slowed core."""
ACCOUNTED = (0.9, 1.1)
"""The CPU clock may stand in for the wall clock if the thread computed or waited for a core for
this share of a block: then nothing of a call happens while the thread sleeps."""


class MeasurementError(ValueError):
    """A latency that could not be measured; the message has the model and why."""


@dataclass(frozen=True)
class Protocol:
    """How carefully to measure.

    Attributes:
        blocks: least interleaved blocks per model; at least `LEAST_BLOCKS` are taken.
        calls: least calls per block; quick models get more, so that a block lasts long enough.
        max_interval: blocks are added until half of the ratio's 95% confidence interval is at
            most this share of the ratio.
        time_limit_s: seconds per model after which none are added to `blocks`, and the interval
            stays as wide as it is.
    """

    blocks: int
    calls: int
    max_interval: float = 0.02
    time_limit_s: float = 5.0


@dataclass(frozen=True)
class Sample:
    """The blocks that count, by one clock.

    Attributes:
        ns_N2: nanoseconds per call of the model and of the reference.
        undisturbed: share of them that nothing disturbed or slowed.
        settled: whether measuring more blocks is of use for their interval alone.
    """

    ns_N2: Any
    undisturbed: float
    settled: bool

    @property
    def ratios(self) -> Any:
        """(N,): the model's time over the reference's."""
        return self.ns_N2[:, 0] / self.ns_N2[:, 1]


def measure_against(
    model: Any, reference: Any, protocol: Protocol, threads: int = 1
) -> dict[str, float]:
    """Measure one session against another by the protocol.

    Args:
        model: the session that is measured.
        reference: what it is compared with.
        protocol: how carefully.
        threads: of the sessions; the CPU clock of the calling thread knows of one alone.

    Returns:
        `ratio`: median over blocks of the model's time over the reference's; `low` and `high`:
        its 95% confidence interval; `spread` of the ratios; `reference_ms`: the reference's
        median, milliseconds per image; `blocks` that count, and `undisturbed`, their share.
    """
    least = max(protocol.blocks, LEAST_BLOCKS)
    gc.disable()  # no collection inside a block
    try:
        with Scheduler() as scheduler:
            runners = [Runner(s, protocol.calls, scheduler) for s in (model, reference)]
            began = time.perf_counter()
            pairs = [_pair(runners, number) for number in range(least)]
            while True:
                sample = choose(pairs, least, threads == 1)
                late = time.perf_counter() - began > protocol.time_limit_s
                if sample.settled or late:
                    found = summarise(sample)
                    if late or half_width(found) <= protocol.max_interval:
                        return found
                # Some at a time: choosing takes a while, and sweeps the caches.
                for _ in range(AT_A_TIME):
                    pairs.append(_pair(runners, len(pairs)))
    finally:
        gc.enable()


def _pair(runners: Sequence[Runner], number: int) -> tuple[Block, Block]:
    """One block of each session; the order alternates, so that a steady drift cancels."""
    model, reference = runners
    if number % 2 == 0:
        reference_block = reference.block()
        return model.block(), reference_block
    return model.block(), reference.block()


def choose(pairs: Sequence[tuple[Block, Block]], least: int, one_thread: bool) -> Sample:
    """Which blocks count, and by which clock.

    Undisturbed pairs by the wall clock, if there are enough. Else, by the CPU clock where that may
    stand in for it, each session's blocks that ran on a core which nothing slowed; and where
    there are too few of these, the least slowed.

    Args:
        pairs: what was measured.
        least: how many are enough.
        one_thread: whether the sessions compute in the calling thread alone.
    """
    wall_N2 = np.array([[block.wall_ns for block in pair] for pair in pairs])
    clock_N2 = wall_N2
    if one_thread and cpu_clock_agrees([block for pair in pairs for block in pair]):
        clock_N2 = np.array([[block.cpu_ns for block in pair] for pair in pairs])
    quick_N2 = clock_N2 <= SLOWED * clock_N2.min(axis=0)
    clean_N2 = quick_N2 & ~np.array([[block.disturbed for block in pair] for pair in pairs])
    clean_N = clean_N2.all(axis=1)
    if clean_N.sum() >= least:
        return Sample(wall_N2[clean_N], 1.0, True)
    kept_K2 = _quickest(clock_N2, quick_N2, least)
    enough = bool((quick_N2.sum(axis=0) >= least).all())
    return Sample(
        np.take_along_axis(clock_N2, kept_K2, axis=0),
        float(np.take_along_axis(clean_N2, kept_K2, axis=0).mean()),
        len(pairs) >= (PATIENCE if enough else LONG_PATIENCE) * least,
    )


def _quickest(clock_N2: Any, quick_N2: Any, least: int) -> Any:
    """(K, 2): which blocks of each session count, in the order of time, as many of both.

    The quick ones, or the `least` quickest. A core is seldom quick for a block of the model and
    the one of the reference beside it, where it changes with every block.
    """
    counts = np.maximum(quick_N2.sum(axis=0), least)
    count = counts.min()
    columns = []
    for clock_N, quickest in zip(clock_N2.T, counts):  # noqa: B905 - older Pythons
        kept = np.sort(np.argsort(clock_N, kind="stable")[:quickest])
        columns.append(kept[np.arange(count) * len(kept) // count])  # evenly, where there are more
    return np.stack(columns, axis=1)


def cpu_clock_agrees(blocks: Sequence[Block]) -> bool:
    """Whether a call is all computing in the calling thread, as the blocks saw it."""
    accounted = sorted(block.accounted for block in blocks if block.accounted is not None)
    low, high = ACCOUNTED
    return len(accounted) == len(blocks) and low <= accounted[len(blocks) // 2] <= high


def summarise(sample: Sample) -> dict[str, float]:
    """What `measure_against` returns of the blocks that count."""
    ratios = np.sort(sample.ratios)
    first, middle, third = np.percentile(ratios, [25, 50, 75])
    rank = interval_rank(len(ratios))
    return {
        "ratio": float(middle),
        "low": float(ratios[rank]),
        "high": float(ratios[-1 - rank]),
        "spread": float((third - first) / middle),
        "reference_ms": float(np.median(sample.ns_N2[:, 1])) / 1e6,
        "blocks": len(ratios),
        "undisturbed": sample.undisturbed,
    }


def half_width(found: dict[str, float]) -> float:
    """Half of a ratio's interval, as a share of the ratio."""
    return (found["high"] - found["low"]) / 2 / found["ratio"]


def interval_rank(count: int) -> int:
    """How many of `count` sorted values lie outside, on each side, of their median's 95% interval.

    The interval of order statistics: the median of what the values are drawn from lies below the
    k-th smallest of n with the probability that at most k - 1 of n fair coins show heads. It
    asks nothing of the distribution but that the values are independent.
    """
    rank = 0
    tail = 1 + count  # of the 2**count outcomes: those with at most rank + 1 heads
    while 40 * tail <= 2**count:  # both tails hold at most 5% of them
        rank += 1
        tail += math.comb(count, rank + 1)
    return rank
