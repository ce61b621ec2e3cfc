"""Latency measurement against a reference in interleaved blocks, for machines of varying speed.

A shared processor changes speed for seconds at a time, which shifts absolute latencies by 10% or
more. Each block of calls to a model is therefore paired with a block of calls to a reference
network, and only the ratio is used: the latency of the model is the median ratio times the
reference's median over the session. Blocks, not single calls, alternate, because alternating calls
would evict the caches of both models.

Disturbed blocks are measured again, and blocks are added until the confidence interval of the ratio
is narrow or the time limit is reached: noise widens the interval and never fails a run. See
`devices.measure.agent.protocol` and `blocks`. Models that ran on a slow core, as detected by the
latency of the reference, are measured again after the others (`measure_on_fast_cores`).

Every model is measured with the reference in its own process (`devices.measure.worker`), isolated
from the caller's threads and memory; the reported latency of a bundle is measured in several
processes (`replicate`, `pool`). A runtime that crashes or hangs only ends its process, and the
error names the model.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from devices.device import CPU
from devices.measure.agent.protocol import MeasurementError, Protocol

__all__ = [
    "Measurement",
    "MeasurementError",
    "Protocol",
    "measure",
    "measure_on_fast_cores",
    "normalise_to_reference",
    "pool",
    "replicate",
    "require_narrow",
]

WORKER = "devices.measure.worker"
LINE = "measure "
"""Prefix of the worker's report lines; runtimes may print other lines."""
MEASURED = ("ratio", "low", "high", "spread", "reference_ms", "blocks", "undisturbed")
"""Keys of the result of `devices.measure.agent.protocol.measure_against`."""
SLOW_CORE = 1.2
"""A model ran on a slow core if its reference took more than this many times the fastest one.
Observed: 1.4 to 1.6 on slow cores, up to 1.13 between processes on fast cores."""
ROUNDS = 4
"""Maximum measurements per model while it runs on slow cores."""
EXTRA_TIME, LEAST_EXTRA_S = 1.0, 5.0
"""Limit of repeated measurements: this many times the duration of the first round, or so many
seconds if longer."""
_ROOT = Path(__file__).resolve().parents[2]

Row = Mapping[str, float]
"""Result of `devices.measure.agent.protocol.measure_against` for one model."""
MeasureOnce = Callable[[Sequence[str]], Iterator[tuple[str, Row]]]
"""Measures the named models once and yields each result."""


@dataclass(frozen=True)
class Measurement:
    """One model's latency.

    Attributes:
        ms: milliseconds per image at batch 1: `ratio` times the reference's median.
        ratio: median over blocks of model latency / reference latency.
        spread: interquartile range of the ratios over their median.
        interval: 95% confidence interval of `ms`, in milliseconds.
        blocks: number of blocks.
        undisturbed: share of undisturbed blocks.
    """

    ms: float
    ratio: float
    spread: float
    interval: tuple[float, float]
    blocks: int = 0
    undisturbed: float = 0.0

    @property
    def half_width(self) -> float:
        """Half width of the interval, as a share of the latency."""
        low, high = self.interval
        return (high - low) / 2 / self.ms

    @property
    def reference_ms(self) -> float:
        """Milliseconds of the reference, to which `ms` is normalised."""
        return self.ms / self.ratio

    def rescale(self, reference_ms: float) -> Measurement:
        """Normalise to the reference's latency in another session."""
        ms = self.ratio * reference_ms
        low, high = (bound * ms / self.ms for bound in self.interval)
        return replace(self, ms=ms, interval=(low, high))


def measure(
    backend: str,
    models: Mapping[str, Path],
    reference: Path,
    threads: int,
    protocol: Protocol,
    on_done: Callable[[str], None] | None = None,
    unit: str = CPU,
    expected_ms: float | None = None,
) -> dict[str, Measurement]:
    """Measure models one after the other, each in its own process.

    Args:
        backend: name in the backend table; it must run on this machine.
        models: files that the backend can open, by label.
        reference: the reference network; results with the same reference are comparable.
        threads: threads of a session.
        protocol: settings of the measurement.
        on_done: called with the label of each measured model.
        unit: compute unit of the machine; see `Backend.for_unit`.
        expected_ms: known latency of the reference on this machine, milliseconds.

    Raises:
        MeasurementError: a model cannot be opened; the message names it.
    """
    job = {
        "backend": backend,
        "reference": str(reference.resolve()),
        "threads": threads,
        "unit": unit,
        "protocol": asdict(protocol),
    }

    def measure_once(names: Sequence[str]) -> Iterator[tuple[str, Row]]:
        files = {name: str(models[name].resolve()) for name in names}
        for report in _reports({**job, "models": files}):
            if "error" in report:
                raise MeasurementError(report["error"])
            yield report["done"], report

    return normalise_to_reference(
        measure_on_fast_cores(list(models), measure_once, on_done, expected_ms)
    )


def measure_on_fast_cores(
    names: Sequence[str],
    measure_once: MeasureOnce,
    on_done: Callable[[str], None] | None = None,
    expected_ms: float | None = None,
) -> dict[str, Row]:
    """Measure all models, and again those that ran on a slow core.

    Args:
        names: labels of the models.
        measure_once: measures the named models.
        on_done: called once with each label.
        expected_ms: known latency of the reference in milliseconds; by default the fastest one of
            this job is used.

    Returns:
        Per model the row with the fastest reference. If that also ran on a slow core, its interval
        covers the intervals of all rows of the model, and `undisturbed` is 0.
    """
    attempts = _Attempts(names, math.inf if expected_ms is None else expected_ms, on_done)
    began = time.perf_counter()
    attempts.add(measure_once(names), math.inf)
    took = time.perf_counter() - began
    until = began + took + max(EXTRA_TIME * took, LEAST_EXTRA_S)
    for _ in range(ROUNDS - 1):
        slow = [name for name in names if attempts.slow(name)]
        if not slow or time.perf_counter() > until:
            break
        attempts.add(measure_once(slow), until)
    return {name: attempts.best(name) for name in names}


class _Attempts:
    """Rows of each model so far."""

    def __init__(
        self, names: Sequence[str], quickest: float, on_done: Callable[[str], None] | None
    ) -> None:
        self._rows: dict[str, list[Row]] = {name: [] for name in names}
        self._quickest, self._on_done = quickest, on_done

    def add(self, found: Iterator[tuple[str, Row]], until: float) -> None:
        """Collect rows until a deadline."""
        for name, row in found:
            if not self._rows[name] and self._on_done is not None:
                self._on_done(name)
            self._rows[name].append(row)
            self._quickest = min(self._quickest, row["reference_ms"])
            if time.perf_counter() > until:
                break

    def slow(self, name: str) -> bool:
        """Whether a model only ran on slow cores."""
        best_ms = min(row["reference_ms"] for row in self._rows[name])
        return best_ms > SLOW_CORE * self._quickest

    def best(self, name: str) -> Row:
        """The row to report; see `measure_on_fast_cores`."""
        rows = self._rows[name]
        best = min(rows, key=lambda row: row["reference_ms"])
        if not self.slow(name):
            return best
        low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
        return {**best, "low": low, "high": high, "undisturbed": 0.0}


def normalise_to_reference(found: Mapping[str, Row]) -> dict[str, Measurement]:
    """Convert ratios to milliseconds by the median latency of the reference in the session.

    Args:
        found: row per model; see `MEASURED`.
    """
    if not found:
        return {}
    reference_ms = float(np.median([row["reference_ms"] for row in found.values()]))
    return {
        name: Measurement(
            row["ratio"] * reference_ms,
            row["ratio"],
            row["spread"],
            (row["low"] * reference_ms, row["high"] * reference_ms),
            int(row["blocks"]),
            row["undisturbed"],
        )
        for name, row in found.items()
    }


PROCESSES = 6
"""Number of processes for a reported latency: the range of six independent values contains the
population median with a probability of 97%."""


def replicate(model: Path) -> dict[str, Path]:
    """One model under `PROCESSES` labels, to be measured in as many processes."""
    return {f"{model.name}, process {number}": model for number in range(1, PROCESSES + 1)}


def pool(found: Mapping[str, Measurement]) -> Measurement:
    """Combine the measurements of one model in several processes.

    The memory layout of a process has a constant effect on all of its blocks. The latency is the
    median over processes, the interval is their range.
    """
    rows = list(found.values())
    latencies = [row.ms for row in rows]
    return Measurement(
        ms=float(np.median(latencies)),
        ratio=float(np.median([row.ratio for row in rows])),
        spread=float(np.median([row.spread for row in rows])),
        interval=(min(latencies), max(latencies)),
        blocks=sum(row.blocks for row in rows),
        undisturbed=float(np.mean([row.undisturbed for row in rows])),
    )


def require_narrow(found: Mapping[str, Measurement], protocol: Protocol) -> None:
    """Check the width of the intervals.

    Raises:
        MeasurementError: an interval is wider than `protocol.max_interval`.
    """
    for name, row in found.items():
        if row.half_width > protocol.max_interval:
            raise MeasurementError(
                f"latency of '{name}' is too noisy: its 95% interval of {row.blocks} blocks is "
                f"+-{row.half_width:.1%}, but max_interval allows "
                f"{protocol.max_interval:.1%}. Stop other work on this machine, or raise "
                "time_limit_s or max_interval."
            )


def _reports(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Run the worker and yield its reports.

    Raises:
        MeasurementError: the worker exited without a report; with the end of its stderr.
    """
    command = [sys.executable, "-m", WORKER]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=_ROOT
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        errors: list[str] = []
        # Read stderr concurrently, because a full pipe would block the worker.
        listener = threading.Thread(target=lambda: errors.extend(worker.stderr or ()), daemon=True)
        listener.start()
        try:
            # A worker that exits at its start is reported by its exit code.
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.write(json.dumps(job))
                worker.stdin.close()
            for line in worker.stdout:
                if line.startswith(LINE):
                    yield json.loads(line.removeprefix(LINE))
            code = worker.wait()
        finally:
            worker.kill()
        listener.join()
        if code != 0:
            last = "".join(errors[-5:]).strip() or "no output"
            raise MeasurementError(f"the measuring process ended with code {code}: {last}")
