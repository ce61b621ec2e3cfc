"""Latency normalisation: all latencies of a device are relative to one reference network.

The speed of a shared machine changes between two measurements by tens of per cent, so absolute
latencies of different runs are not comparable. The RATIO of two networks measured in interleaved
blocks is stable. So every stage measures against the reference network of the device's profile and
reports the ratio times the reference's milliseconds in the profile: predictions, measurements and
budgets are then in the same unit. A ratio does not carry over to another processor or runtime:
measuring there is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.files import read_json
from devices.measure.fingerprint import differences
from devices.measure.interleaved import Measurement, Protocol
from devices.measure.target import Target

LATENCY = "netwright/latency/1"
REFERENCE = "reference.onnx"


@dataclass(frozen=True)
class LatencyReference:
    """The reference network, its milliseconds per image in the profile, and what it ran on."""

    reference: Path
    reference_ms: float
    machine: Mapping[str, Any] | None = field(default=None)

    @classmethod
    def read(cls, profile: Path) -> LatencyReference:
        """Read the reference written by the stage `profile`.

        Raises:
            UserError: the device was not measured when it was profiled.
            FileFormatError: `latency.json` is missing or has another schema.
        """
        content = read_json(profile / "latency.json", LATENCY)
        reference_ms = content.get("reference_ms")
        if reference_ms is None or not (profile / REFERENCE).is_file():
            raise UserError(
                f"{profile} has no measured reference latency, but the device can be measured on "
                "this machine. Profile it: netwright profile NAME"
            )
        return cls(profile / REFERENCE, float(reference_ms), content.get("machine"))

    def measure(
        self,
        name: str,
        target: Target,
        models: Mapping[str, Path],
        protocol: Protocol,
        on_done: Callable[[str], None] | None = None,
    ) -> dict[str, Measurement]:
        """Measure models like `Target.measure`, normalised to the profile's reference.

        Args:
            name: the device's, for the message.
            target: the measurement target.
            models: files, by the caller's names.
            protocol: number of blocks and calls, and time limits.
            on_done: called with each model's name when it is done.

        Raises:
            UserError: the profile was measured on another machine or runtime.
            MeasurementError: a model cannot be opened.
        """
        changed = differences(self.machine, target.machine())
        if changed:
            raise UserError(stale_message(name, changed))
        found = target.measure(models, self.reference, protocol, on_done, self.reference_ms)
        return {key: m.rescale(self.reference_ms) for key, m in found.items()}


def read_machine(profile: Path) -> Mapping[str, Any] | None:
    """Read the fingerprint of the machine that a device was profiled on; None if not measured.

    Raises:
        FileFormatError: `latency.json` is missing or has another schema.
    """
    machine: Mapping[str, Any] | None = read_json(profile / "latency.json", LATENCY).get("machine")
    return machine


def stale_message(name: str, changed: list[str]) -> str:
    """Error message for a latency table that was measured on another machine or runtime."""
    return (
        f"the latency table of '{name}' is stale: {'; '.join(changed)}. New measurements are not "
        f"comparable with its predictions. Measure it again: netwright profile {name}. Or run on "
        "the machine where it was measured."
    )
