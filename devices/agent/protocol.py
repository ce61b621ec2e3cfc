"""Time one session against another where the machine's speed drifts: see devices.measure.

Axes: C channels, H height, W width.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_BLOCK_NS = 2_000_000
"""A block of a quick model gets as many calls as fill this, so that one preemption is not all."""
WARM_UP_CALLS = 5
MAX_REPEATS = 4
"""A noisy model gets up to this many times the protocol's blocks before it is refused."""


class MeasurementError(ValueError):
    """A latency that could not be measured well enough; the message has the model and why."""


@dataclass(frozen=True)
class Protocol:
    """How carefully to measure.

    Attributes:
        blocks: interleaved blocks per model.
        calls: least calls per block; quick models get more, so that a block lasts long enough.
        max_spread: largest accepted interquartile range of the blocks' ratios over their median.
    """

    blocks: int
    calls: int
    max_spread: float


class Runner:
    """A session with the image it is called on, and how many calls make one block."""

    def __init__(self, session: Any, calls: int) -> None:
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


def measure_against(name: str, model: Any, reference: Any, protocol: Protocol) -> dict[str, float]:
    """Measure one session against another by the protocol.

    Returns:
        `ratio`: median over blocks of the model's time over the reference's; `spread` of the
        ratios; `reference_ms`: the reference's median, milliseconds per image.

    Raises:
        MeasurementError: the spread stays past the protocol's limit.
    """
    gc.disable()  # no collection inside a block
    try:
        runners = Runner(model, protocol.calls), Runner(reference, protocol.calls)
        pairs: list[tuple[float, float]] = []
        for _ in range(MAX_REPEATS):
            pairs += compare(*runners, protocol.blocks)
            ratios = [model_ns / reference_ns for model_ns, reference_ns in pairs]
            spread = spread_of(ratios)
            if spread <= protocol.max_spread:
                reference_ns = float(np.median([reference_ns for _, reference_ns in pairs]))
                ratio = float(np.median(ratios))
                return {
                    "ratio": ratio,
                    "spread": spread,
                    "low": min(ratios),
                    "high": max(ratios),
                    "reference_ms": reference_ns / 1e6,
                }
    finally:
        gc.enable()
    raise MeasurementError(
        f"latency of '{name}' is too noisy: {len(pairs)} blocks spread by {spread:.0%} of their "
        f"median, and max_spread allows {protocol.max_spread:.0%}. Stop other work on this "
        "machine, or raise blocks, calls or max_spread."
    )
