"""Measure latency where the machine's speed drifts: against a reference, in interleaved blocks.

A processor shared with others changes speed for seconds at a time, which moves every absolute
time by a tenth or more. So each block of calls to a model stands beside a block of calls to one
reference network, and only their RATIO is kept; the median over blocks, times the reference's
median over the whole session, is the model's latency. Calls are not alternated one by one: that
would evict each model's caches and measure the eviction.

Blocks that something disturbed are measured again, as long as that helps, and blocks are added
until the ratio's confidence interval is narrow or the time is over: noise makes an interval wide,
and never ends a run. `devices.agent.protocol` and `blocks` have the rules. Models that ran on a
slow core, which no counter of the system shows but the reference's time does, are measured again
after the others (`on_quick_cores`).

Every model is measured in a process of its own (`devices.measure_worker`), with the reference and
nothing else beside it, away from the caller's threads and memory; what is reported of a bundle is
measured in several (`repeated`, `pooled`). A runtime that crashes or hangs on a model ends that
process, and the message names the model.
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

from devices.agent.protocol import MeasurementError, Protocol
from devices.device import CPU

__all__ = [
    "Measurement",
    "MeasurementError",
    "Protocol",
    "in_one_clock",
    "measure",
    "on_quick_cores",
    "pooled",
    "repeated",
    "require_narrow",
]

WORKER = "devices.measure_worker"
LINE = "measure "
"""Start of every line by which the worker reports; the runtimes may print others."""
MEASURED = ("ratio", "low", "high", "spread", "reference_ms", "blocks", "undisturbed")
"""What `devices.agent.protocol.measure_against` returns, here or from a device's agent."""
SLOW_CORE = 1.2
"""A model beside which the reference took more than this many times its quickest time ran on a
slow core: 1.4 to 1.6 times was seen there, and up to 1.13 between processes on quick ones."""
ROUNDS = 4
"""How often a model is measured at most, until it did not run on a slow core."""
EXTRA_TIME, LEAST_EXTRA_S = 1.0, 5.0
"""Measuring again takes at most this many times what measuring all once took, or so many seconds:
a core was seen to stay slow for several measurements in a row."""
_ROOT = Path(__file__).resolve().parents[1]

Row = Mapping[str, float]
"""What `devices.agent.protocol.measure_against` returns of one model."""
Once = Callable[[Sequence[str]], Iterator[tuple[str, Row]]]
"""Measures the named models once and yields each as it is done."""


@dataclass(frozen=True)
class Measurement:
    """One model's latency.

    Attributes:
        ms: milliseconds per image at batch 1: `ratio` times the reference's median.
        ratio: median over blocks of the model's time over the reference's.
        spread: interquartile range of the ratios over their median.
        interval: 95% confidence interval of `ms`, in milliseconds: the ratio's times the same
            milliseconds of the reference.
        blocks: how many blocks it comes from.
        undisturbed: share of them that nothing disturbed.
    """

    ms: float
    ratio: float
    spread: float
    interval: tuple[float, float]
    blocks: int = 0
    undisturbed: float = 0.0

    @property
    def half_width(self) -> float:
        """Half of the interval, as a share of the latency."""
        low, high = self.interval
        return (high - low) / 2 / self.ms

    @property
    def reference_ms(self) -> float:
        """Milliseconds of the reference, whose clock `ms` is in."""
        return self.ms / self.ratio

    def in_clock(self, reference_ms: float) -> Measurement:
        """The same in the milliseconds of another session with the same reference."""
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
    quick_ms: float | None = None,
) -> dict[str, Measurement]:
    """Measure models one after the other, each in a process of its own.

    Args:
        backend: name in the backend table; it must run on this machine.
        models: files the backend can open, by a name of the caller's choice.
        reference: a network every model is compared with; keep it the same to compare runs.
        threads: threads a session may use.
        protocol: how carefully.
        on_done: called with each model's name as it is done.
        unit: of the machine, by the runtime's name; see `Backend.on`.
        quick_ms: what the reference is known to take on this machine; see `on_quick_cores`.

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

    def once(names: Sequence[str]) -> Iterator[tuple[str, Row]]:
        files = {name: str(models[name].resolve()) for name in names}
        for report in _reports({**job, "models": files}):
            if "error" in report:
                raise MeasurementError(report["error"])
            yield report["done"], report

    return in_one_clock(on_quick_cores(list(models), once, on_done, quick_ms))


def on_quick_cores(
    names: Sequence[str],
    once: Once,
    on_done: Callable[[str], None] | None = None,
    quick_ms: float | None = None,
) -> dict[str, Row]:
    """Measure all models, then again those that ran on a slow core, in at most twice the time.

    Args:
        names: the models'.
        once: measures the named ones.
        on_done: called with each model's name, once.
        quick_ms: milliseconds that the reference is known to take; without them the quickest of
            this job counts alone.

    Returns:
        Per model the row with the quickest reference. Where that ran on a slow core as well, its
        interval holds those of all its rows, and nothing of it counts as undisturbed.
    """
    attempts = _Attempts(names, math.inf if quick_ms is None else quick_ms, on_done)
    began = time.perf_counter()
    attempts.add(once(names), math.inf)
    took = time.perf_counter() - began
    until = began + took + max(EXTRA_TIME * took, LEAST_EXTRA_S)
    for _ in range(ROUNDS - 1):
        slow = [name for name in names if attempts.slow(name)]
        if not slow or time.perf_counter() > until:
            break
        attempts.add(once(slow), until)
    return {name: attempts.best(name) for name in names}


class _Attempts:
    """What was measured of each model so far."""

    def __init__(
        self, names: Sequence[str], quickest: float, on_done: Callable[[str], None] | None
    ) -> None:
        self._rows: dict[str, list[Row]] = {name: [] for name in names}
        self._quickest, self._on_done = quickest, on_done

    def add(self, found: Iterator[tuple[str, Row]], until: float) -> None:
        """Take in rows until this time by the clock."""
        for name, row in found:
            if not self._rows[name] and self._on_done is not None:
                self._on_done(name)
            self._rows[name].append(row)
            self._quickest = min(self._quickest, row["reference_ms"])
            if time.perf_counter() > until:
                break

    def slow(self, name: str) -> bool:
        """Whether a model has run on slow cores alone."""
        best_ms = min(row["reference_ms"] for row in self._rows[name])
        return best_ms > SLOW_CORE * self._quickest

    def best(self, name: str) -> Row:
        """The row to report of a model."""
        rows = self._rows[name]
        best = min(rows, key=lambda row: row["reference_ms"])
        if not self.slow(name):
            return best
        low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
        return {**best, "low": low, "high": high, "undisturbed": 0.0}


def in_one_clock(found: Mapping[str, Row]) -> dict[str, Measurement]:
    """A session's measurements in milliseconds: each ratio times one time of the reference.

    Args:
        found: per model what was measured; see `MEASURED`.
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
"""How many processes measure a latency that is reported: the smallest and the largest of six
independent values hold the median of what they are drawn from with a probability of 97%."""


def repeated(model: Path) -> dict[str, Path]:
    """One model under several labels, so that it is measured in `PROCESSES` processes."""
    return {f"{model.name}, process {number}": model for number in range(1, PROCESSES + 1)}


def pooled(found: Mapping[str, Measurement]) -> Measurement:
    """What several processes measured of one model.

    A process lays out its memory anew, and keeps a difference that no block in it shows. Here the
    latency is the median over processes, and the interval goes from the smallest to the largest.
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
    """Refuse what is known too inexactly, for a caller whose answer depends on it.

    Raises:
        MeasurementError: the interval of a model is wider than the protocol asks for.
    """
    for name, row in found.items():
        if row.half_width > protocol.max_interval:
            raise MeasurementError(
                f"latency of '{name}' is too noisy: its 95% interval of {row.blocks} blocks is "
                f"{row.half_width:.1%} of it to either side, and max_interval allows "
                f"{protocol.max_interval:.1%}. Stop other work on this machine, or raise "
                "time_limit_s or max_interval."
            )


def _reports(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Run the worker and yield its reports as they come.

    Raises:
        MeasurementError: the worker died without saying why; its last words are in the message.
    """
    command = [sys.executable, "-m", WORKER]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=_ROOT
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        words: list[str] = []
        # stderr is read beside, or a talkative runtime would fill its pipe and stop the worker.
        listener = threading.Thread(target=lambda: words.extend(worker.stderr or ()), daemon=True)
        listener.start()
        try:
            # A worker that died at its start is reported by its exit code, not by its pipe.
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
            last = "".join(words[-5:]).strip() or "it said nothing"
            raise MeasurementError(f"the measuring process ended with code {code}: {last}")
