"""Measure latency where the machine's speed drifts: against a reference, in interleaved blocks.

A processor shared with others changes speed for seconds at a time, which moves every absolute
time by a tenth or more. So each block of calls to a model stands beside a block of calls to one
reference network, and only their RATIO is kept; the median over blocks, times the reference's
median over the whole session, is the model's latency. Calls are not alternated one by one: that
would evict each model's caches and measure the eviction.

Blocks that something disturbed are measured again, as long as that helps, and blocks are added
until the ratio's confidence interval is narrow or the time is over: noise makes an interval wide,
and never ends a run. `devices.agent.protocol` and `blocks` have the rules.

Every model is measured in a process of its own (`devices.measure_worker`), with the reference and
nothing else beside it, away from the caller's threads and memory. A runtime that crashes or hangs
on a model ends that process, and the message names the model.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
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
    "require_narrow",
]

WORKER = "devices.measure_worker"
LINE = "measure "
"""Start of every line by which the worker reports; the runtimes may print others."""
MEASURED = ("ratio", "low", "high", "spread", "reference_ms", "blocks", "undisturbed")
"""What `devices.agent.protocol.measure_against` returns, here or from a device's agent."""
_ROOT = Path(__file__).resolve().parents[1]


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

    Raises:
        MeasurementError: a model cannot be opened; the message names it.
    """
    job = {
        "backend": backend,
        "models": {name: str(path.resolve()) for name, path in models.items()},
        "reference": str(reference.resolve()),
        "threads": threads,
        "unit": unit,
        "protocol": asdict(protocol),
    }
    found: dict[str, dict[str, float]] = {}
    for report in _reports(job):
        if "error" in report:
            raise MeasurementError(report["error"])
        found[report["done"]] = report
        if on_done is not None:
            on_done(report["done"])
    return in_one_clock(found)


def in_one_clock(found: Mapping[str, Mapping[str, float]]) -> dict[str, Measurement]:
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
