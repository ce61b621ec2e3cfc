"""Measure one session against a reference on a machine of varying speed.

Axes: N blocks, 2 sessions (the model, the reference).
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .blocks import Block, Runner, Scheduler

LEAST_BLOCKS = 6
"""Fewer blocks have no 95% confidence interval of the median."""
PATIENCE, LONG_PATIENCE = 2, 4
"""Disturbed blocks are repeated up to `PATIENCE` times `blocks` in all, and up to `LONG_PATIENCE`
times `blocks` while fewer than `blocks` ran at full core speed."""
AT_A_TIME = 3
SLOWED = 1.05
"""A block that takes more than this many times the fastest one ran on a slowed core."""
ACCOUNTED = (0.9, 1.1)
"""The CPU clock may replace the wall clock if the median `Block.accounted` is in this range: then
no part of a call runs while the thread sleeps."""


class MeasurementError(ValueError):
    """A failed latency measurement; the message names the model and the reason."""


@dataclass(frozen=True)
class Protocol:
    """Settings of a measurement.

    Attributes:
        blocks: minimum interleaved blocks per model, at least `LEAST_BLOCKS`.
        calls: minimum calls per block; fast models run more, see `MIN_BLOCK_NS`.
        max_interval: blocks are added until the half width of the ratio's 95% confidence interval
            is at most this share of the ratio.
        time_limit_s: seconds per model after which no blocks are added, whatever the interval.
    """

    blocks: int
    calls: int
    max_interval: float = 0.02
    time_limit_s: float = 5.0


@dataclass(frozen=True)
class Measurement:
    """One model's latency at batch 1, against the reference."""

    ratio: float  # median over blocks of model latency / reference latency
    low: float  # lower end of the ratio's 95% confidence interval
    high: float
    spread: float  # interquartile range of the ratios over their median
    reference_ms: float  # milliseconds of the reference, to which `ms` is normalised
    blocks: int
    undisturbed: float  # share of the blocks

    @property
    def ms(self) -> float:
        """Milliseconds per image."""
        return self.ratio * self.reference_ms

    @property
    def interval(self) -> tuple[float, float]:
        """95% confidence interval of `ms`, in milliseconds."""
        return self.low * self.reference_ms, self.high * self.reference_ms

    @property
    def half_width(self) -> float:
        """Half width of the interval, as a share of the latency."""
        return (self.high - self.low) / 2 / self.ratio

    def rescale(self, reference_ms: float) -> Measurement:
        """Normalise to the reference's latency in another session."""
        return replace(self, reference_ms=reference_ms)


@dataclass(frozen=True)
class Sample:
    """The selected blocks: nanoseconds per call of the model and the reference, on one clock."""

    ns_N2: Any
    undisturbed: float  # share of the blocks that were neither disturbed nor slowed
    settled: bool  # whether more blocks would only narrow the interval


def measure_against(
    model: Any, reference: Any, protocol: Protocol, threads: int = 1
) -> Measurement:
    """Measure one session against another; the CPU clock is used only with one thread."""
    least = max(protocol.blocks, LEAST_BLOCKS)
    gc.disable()  # no collection inside a block
    try:
        with Scheduler() as scheduler:
            runners = [Runner(s, protocol.calls, scheduler) for s in (model, reference)]
            began = time.perf_counter()
            pairs = [_pair(runners, number) for number in range(least)]
            while True:
                sample = select_blocks(pairs, least, threads == 1)
                late = time.perf_counter() - began > protocol.time_limit_s
                if sample.settled or late:
                    found = summarise(sample)
                    if late or found.half_width <= protocol.max_interval:
                        return found
                # Several at a time: selecting blocks takes time and evicts caches.
                for _ in range(AT_A_TIME):
                    pairs.append(_pair(runners, len(pairs)))
    finally:
        gc.enable()


def _pair(runners: Sequence[Runner], number: int) -> tuple[Block, Block]:
    """Time one block of each session; the order alternates, so that a steady drift cancels."""
    model, reference = runners
    if number % 2 == 0:
        reference_block = reference.block()
        return model.block(), reference_block
    return model.block(), reference.block()


def select_blocks(pairs: Sequence[tuple[Block, Block]], least: int, one_thread: bool) -> Sample:
    """Select blocks and the clock.

    Undisturbed pairs on the wall clock, if there are enough. Otherwise the blocks of each session
    that ran at full core speed, or the fastest ones if these are too few; on the CPU clock if it
    is valid. `least` pairs are enough; `one_thread`: the sessions compute in the calling thread.
    """
    wall_N2 = np.array([[block.wall_ns for block in pair] for pair in pairs])
    clock_N2 = wall_N2
    if one_thread and is_cpu_clock_valid([block for pair in pairs for block in pair]):
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
    """(K, 2): indices of the fast blocks of each session in order of time, equal in number.

    At least the `least` fastest. Selected per session: if the core speed changes with every
    block, both blocks of a pair are rarely fast.
    """
    counts = np.maximum(quick_N2.sum(axis=0), least)
    count = counts.min()
    columns = []
    for clock_N, quickest in zip(clock_N2.T, counts):  # noqa: B905 - older Pythons
        kept = np.sort(np.argsort(clock_N, kind="stable")[:quickest])
        columns.append(kept[np.arange(count) * len(kept) // count])  # subsample evenly
    return np.stack(columns, axis=1)


def is_cpu_clock_valid(blocks: Sequence[Block]) -> bool:
    """Whether calls compute only in the calling thread, by the `accounted` share of blocks."""
    accounted = sorted(block.accounted for block in blocks if block.accounted is not None)
    low, high = ACCOUNTED
    return len(accounted) == len(blocks) and low <= accounted[len(blocks) // 2] <= high


def summarise(sample: Sample) -> Measurement:
    """Compute the latency from the selected blocks."""
    ratios = np.sort(sample.ns_N2[:, 0] / sample.ns_N2[:, 1])
    first, middle, third = np.percentile(ratios, [25, 50, 75])
    rank = interval_rank(len(ratios))
    return Measurement(
        ratio=float(middle),
        low=float(ratios[rank]),
        high=float(ratios[-1 - rank]),
        spread=float((third - first) / middle),
        reference_ms=float(np.median(sample.ns_N2[:, 1])) / 1e6,
        blocks=len(ratios),
        undisturbed=sample.undisturbed,
    )


def interval_rank(count: int) -> int:
    """Number of `count` sorted values on each side outside the 95% interval of their median.

    The distribution-free interval of order statistics: the population median is below the k-th
    smallest of n independent values with probability P(Binomial(n, 1/2) <= k - 1).
    """
    rank = 0
    tail = 1 + count  # number of the 2**count outcomes with at most rank + 1 heads
    while 40 * tail <= 2**count:  # both tails together: at most 5%
        rank += 1
        tail += math.comb(count, rank + 1)
    return rank
