"""The process that measures: reads a job on its standard input, reports lines on its output.

Started by `devices.measure`, which describes the protocol.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from devices.backends import Backend, Session, backend
from devices.device import DeviceError
from devices.measure import LINE, MeasurementError, Protocol

MIN_BLOCK_NS = 2_000_000
"""A block of a quick model gets as many calls as fill this, so that one preemption is not all."""
WARM_UP_CALLS = 5
MAX_REPEATS = 4
"""A noisy model gets up to this many times the protocol's blocks before it is refused."""


class Runner:
    """A session with the image it is called on, and how many calls make one block."""

    def __init__(self, session: Session, calls: int) -> None:
        self.session = session
        rng = np.random.default_rng(0)  # the values do not matter, but denormals would
        self.image_1CHW = rng.normal(size=session.input_shape).astype(np.float32)
        self.calls = WARM_UP_CALLS
        warm_ns = min(self.block() for _ in range(2))
        self.calls = max(calls, round(MIN_BLOCK_NS / warm_ns))

    def block(self) -> float:
        """Nanoseconds of the median call of one block."""
        clock, session, image_1CHW = time.perf_counter_ns, self.session, self.image_1CHW
        times = []
        for _ in range(self.calls):
            start = clock()
            session(image_1CHW)
            times.append(clock() - start)
        return float(np.median(times))


def compare(model: Runner, reference: Runner, blocks: int) -> list[tuple[float, float]]:
    """Time `blocks` interleaved blocks; returns pairs of nanoseconds (model, reference)."""
    pairs = []
    for number in range(blocks):
        # The order alternates, so that a steady drift cancels.
        if number % 2 == 0:
            reference_ns = reference.block()
            pairs.append((model.block(), reference_ns))
        else:
            model_ns = model.block()
            pairs.append((model_ns, reference.block()))
    return pairs


def spread_of(ratios: list[float]) -> float:
    """Interquartile range over median."""
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    return float((high - low) / middle)


def measure_one(
    name: str, model: Runner, reference: Runner, protocol: Protocol
) -> tuple[float, float, list[float]]:
    """The ratio's median, its spread, and the reference's nanoseconds.

    Raises:
        MeasurementError: the spread stays past the protocol's limit.
    """
    pairs: list[tuple[float, float]] = []
    for _ in range(MAX_REPEATS):
        pairs += compare(model, reference, protocol.blocks)
        ratios = [model_ns / reference_ns for model_ns, reference_ns in pairs]
        spread = spread_of(ratios)
        if spread <= protocol.max_spread:
            return float(np.median(ratios)), spread, [reference_ns for _, reference_ns in pairs]
    raise MeasurementError(
        f"latency of '{name}' is too noisy: {len(pairs)} blocks spread by {spread:.0%} of their "
        f"median, and max_spread allows {protocol.max_spread:.0%}. Stop other work on this "
        "machine, or raise blocks, calls or max_spread."
    )


def run(job: dict[str, Any]) -> None:
    """Measure every model of a job and report each.

    Raises:
        MeasurementError: a model is too noisy.
        DeviceError: a model cannot be opened.
    """
    protocol, runtime = Protocol(**job["protocol"]), backend(job["backend"])
    gc.disable()  # no collection inside a block
    reference_ns: list[float] = []
    with _open(runtime, job["reference"], job["threads"]) as session:
        reference = Runner(session, protocol.calls)
        for name, file in job["models"].items():
            with _open(runtime, file, job["threads"]) as other:
                model = Runner(other, protocol.calls)
                ratio, spread, seen_ns = measure_one(name, model, reference, protocol)
            reference_ns += seen_ns
            report({"done": name, "ratio": ratio, "spread": spread})
            gc.collect()
        if not reference_ns:
            reference_ns = [reference.block()]
    report({"reference_ms": float(np.median(reference_ns)) / 1e6})


def report(content: dict[str, Any]) -> None:
    """Send one line to `devices.measure`."""
    print(LINE + json.dumps(content), flush=True)


def _open(runtime: Backend, file: str, threads: int) -> Session:
    return runtime.open(Path(file), threads)


def main() -> None:
    """Run the job on standard input; what the user can mend is reported as a line."""
    try:
        run(json.load(sys.stdin))
    except (MeasurementError, DeviceError) as error:
        report({"error": str(error)})


if __name__ == "__main__":
    main()
