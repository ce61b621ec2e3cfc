"""A device's clock: the reference network of its profile, in which all its latencies are told.

A shared machine changes speed between two sessions by tens of per cent, so a latency of today's
session says little beside a prediction from yesterday's. The RATIO of two networks measured in
interleaved blocks is steady. So every stage measures against the one reference network of the
device's profile, and tells the ratio times the milliseconds that the profile found for it:
predicted, measured and budget are then in the same unit. A ratio carries over from a slow hour to a
quick one, and not from one processor or runtime to another: there the clock refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices.bench import Bench
from devices.fingerprint import differences
from devices.measure import Measurement, Protocol
from stages.common.files import read_json
from stages.common.schemas import LATENCY

REFERENCE = "reference.onnx"


class ClockError(ValueError):
    """A profile without a reference; the message says how to get one."""


@dataclass(frozen=True)
class Clock:
    """The reference network, its milliseconds per image in the profile, and what it ran on."""

    reference: Path
    reference_ms: float
    machine: Mapping[str, Any] | None = field(default=None)

    @classmethod
    def read(cls, profile: Path) -> Clock:
        """The clock that the stage `profile` left in a folder.

        Raises:
            ClockError: the profile was made where the device could not be measured.
            FileFormatError: `latency.json` is missing or of another kind.
        """
        content = read_json(profile / "latency.json", LATENCY)
        reference_ms = content.get("reference_ms")
        if reference_ms is None or not (profile / REFERENCE).is_file():
            raise ClockError(
                f"{profile} holds no measured reference, but the device can be measured here. "
                "Profile it on this machine: netwright profile NAME"
            )
        return cls(profile / REFERENCE, float(reference_ms), content.get("machine"))

    def measure(
        self,
        name: str,
        bench: Bench,
        models: Mapping[str, Path],
        protocol: Protocol,
        on_done: Callable[[str], None] | None = None,
    ) -> dict[str, Measurement]:
        """Like `Bench.measure`, in the profile's milliseconds.

        Args:
            name: the device's, for the message.
            bench: where it is measured.
            models: files by a name of the caller's choice.
            protocol: how carefully.
            on_done: called with each model's name as it is done.

        Raises:
            ClockError: the profile was measured on something else.
            MeasurementError: a model cannot be opened.
        """
        changed = differences(self.machine, bench.machine())
        if changed:
            raise ClockError(stale_message(name, changed))
        found = bench.measure(models, self.reference, protocol, on_done, self.reference_ms)
        return {key: m.in_clock(self.reference_ms) for key, m in found.items()}


def stale_message(name: str, changed: list[str]) -> str:
    """What to say of a latency table that was measured on something else."""
    return (
        f"the latency table of '{name}' is stale: {'; '.join(changed)}. Measurements of today and "
        f"its predictions would be in two clocks. Measure it again: netwright profile {name}. Or "
        "run where it was measured."
    )
