"""Latency measurement against a reference in interleaved blocks, for machines of varying speed.

A shared processor changes speed for seconds at a time, which shifts absolute latencies by 10% or
more. Each block of calls to a model is therefore paired with a block of calls to a reference
network, and only the ratio is used: the latency of the model is the median ratio times the
reference's median over the session. Blocks, not single calls, alternate, because alternating calls
would evict the caches of both models.

Disturbed blocks are measured again, and blocks are added until the confidence interval of the ratio
is narrow or the time limit is reached: noise widens the interval and never fails a run. See
`devices.measure.agent.protocol` and `blocks`. Models that ran on a slow core, as detected by the
latency of the reference, are measured again after the others (`measure_on_fast_cores`). The
reported latency of a bundle is measured in several processes (`replicate`, `pool`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from devices.measure.agent.protocol import Measurement as Measurement
from devices.measure.agent.protocol import MeasurementError as MeasurementError
from devices.measure.agent.protocol import Protocol as Protocol

SLOW_CORE = 1.2
"""A model ran on a slow core if its reference took more than this many times the fastest one.
Observed: 1.4 to 1.6 on slow cores, up to 1.13 between processes on fast cores."""
ROUNDS = 4
"""Maximum measurements per model while it runs on slow cores."""
EXTRA_TIME, LEAST_EXTRA_S = 1.0, 5.0
"""Limit of repeated measurements: this many times the duration of the first round, or so many
seconds if longer."""
PROCESSES = 6
"""Number of processes for a reported latency: the range of six independent values contains the
population median with a probability of 97%."""

MeasureOnce = Callable[[Sequence[str]], Iterator[tuple[str, Measurement]]]
"""Measures the named models once and yields each result."""
OnDone = Callable[[str], None]
"""Called with the name of each measured model."""


def measure_on_fast_cores(
    names: Sequence[str],
    measure_once: MeasureOnce,
    on_done: OnDone | None = None,
    expected_ms: float | None = None,
) -> dict[str, Measurement]:
    """Measure all models, and again those that ran on a slow core.

    Args:
        names: labels of the models.
        measure_once: measures the named models.
        on_done: called once with each label.
        expected_ms: known latency of the reference in milliseconds; by default the fastest one of
            this job is used.

    Returns:
        Per model the result with the fastest reference. If that also ran on a slow core, its
        interval covers those of all results of the model, and `undisturbed` is 0.
    """
    found: dict[str, list[Measurement]] = {name: [] for name in names}
    fastest_ms, until = expected_ms or math.inf, math.inf
    slow, began = list(names), time.perf_counter()
    for _ in range(ROUNDS):
        for name, result in measure_once(slow):
            if not found[name] and on_done is not None:
                on_done(name)
            found[name].append(result)
            fastest_ms = min(fastest_ms, result.reference_ms)
            if time.perf_counter() > until:
                break
        now = time.perf_counter()
        until = min(until, now + max(EXTRA_TIME * (now - began), LEAST_EXTRA_S))
        slow = [name for name in names if _is_slow(found[name], fastest_ms)]
        if not slow or now > until:
            break
    return {name: _best(found[name], fastest_ms) for name in names}


def _is_slow(found: Sequence[Measurement], fastest_ms: float) -> bool:
    """Whether a model only ran on slow cores."""
    return min(result.reference_ms for result in found) > SLOW_CORE * fastest_ms


def _best(found: Sequence[Measurement], fastest_ms: float) -> Measurement:
    best = min(found, key=lambda result: result.reference_ms)
    if not _is_slow(found, fastest_ms):
        return best
    low, high = min(result.low for result in found), max(result.high for result in found)
    return replace(best, low=low, high=high, undisturbed=0.0)


def normalise_to_reference(found: Mapping[str, Measurement]) -> dict[str, Measurement]:
    """Normalise to the median latency of the reference in the session."""
    if not found:
        return {}
    reference_ms = float(np.median([row.reference_ms for row in found.values()]))
    return {name: row.rescale(reference_ms) for name, row in found.items()}


def replicate(model: Path) -> dict[str, Path]:
    """One model under `PROCESSES` labels, to be measured in as many processes."""
    return {f"{model.name}, process {number}": model for number in range(1, PROCESSES + 1)}


def pool(found: Mapping[str, Measurement]) -> Measurement:
    """Combine the measurements of one model in several processes.

    All are normalised to one reference latency. The memory layout of a process has a constant
    effect on all of its blocks, so the latency is the median over processes, the interval their
    range.
    """
    rows = list(found.values())
    ratios = [row.ratio for row in rows]
    return replace(
        rows[0],
        ratio=float(np.median(ratios)),
        low=min(ratios),
        high=max(ratios),
        spread=float(np.median([row.spread for row in rows])),
        blocks=sum(row.blocks for row in rows),
        undisturbed=float(np.mean([row.undisturbed for row in rows])),
    )
