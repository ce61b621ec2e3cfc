"""A device's clock: the reference network of its profile, in which all its latencies are told.

A shared machine changes speed between two sessions by tens of per cent, so a latency of today's
session says little beside a prediction from yesterday's. The RATIO of two networks measured in
interleaved blocks is steady. So every stage measures against the one reference network of the
device's profile, and tells the ratio times the milliseconds that the profile found for it:
predicted, measured and budget are then in the same unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from devices.measure import Measurement, Protocol, measure
from stages.common.files import read_json
from stages.common.schemas import LATENCY

REFERENCE = "reference.onnx"


class ClockError(ValueError):
    """A profile without a reference; the message says how to get one."""


@dataclass(frozen=True)
class Clock:
    """The reference network, and its milliseconds per image in the profile."""

    reference: Path
    reference_ms: float

    @classmethod
    def read(cls, profile: Path) -> Clock:
        """The clock that the stage `profile` left in a folder.

        Raises:
            ClockError: the profile was made where the device could not be measured.
            FileFormatError: `latency.json` is missing or of another kind.
        """
        reference_ms = read_json(profile / "latency.json", LATENCY).get("reference_ms")
        if reference_ms is None or not (profile / REFERENCE).is_file():
            raise ClockError(
                f"{profile} holds no measured reference, but the device can be measured here. "
                "Profile it on this machine: netwright profile NAME"
            )
        return cls(profile / REFERENCE, float(reference_ms))

    def measure(
        self,
        backend: str,
        models: Mapping[str, Path],
        threads: int,
        protocol: Protocol,
        on_done: Callable[[str], None] | None = None,
    ) -> dict[str, Measurement]:
        """Like `devices.measure.measure`, in the profile's milliseconds."""
        found = measure(backend, models, self.reference, threads, protocol, on_done)
        return {name: replace(m, ms=m.ratio * self.reference_ms) for name, m in found.items()}
