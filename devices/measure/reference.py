"""Latency normalisation: all latencies of a device are relative to one reference network.

Every stage measures the ratio to the reference network of the device's profile (see
`devices.measure.interleaved`) and reports it times the reference's milliseconds in the profile:
predictions, measurements and budgets are then in the same unit. A ratio does not carry over to
another processor or runtime: measuring there is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.files import read_json
from devices.measure.fingerprint import differences
from devices.measure.interleaved import Measurement, OnDone, Protocol
from devices.measure.target import Target

LATENCY = "netwright/latency/1"
REFERENCE = "reference.onnx"


@dataclass(frozen=True)
class LatencyReference:
    """The reference network, its milliseconds per image in the profile, and what it ran on."""

    reference: Path
    reference_ms: float
    machine: Mapping[str, Any] | None = None

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
        target: Target,
        models: Mapping[str, Path],
        protocol: Protocol,
        on_done: OnDone | None = None,
    ) -> dict[str, Measurement]:
        """Measure models like `Target.measure`, normalised to the profile's reference.

        Raises:
            UserError: the profile was measured on another machine or runtime.
            MeasurementError: a model cannot be opened.
        """
        changed = differences(self.machine, target.machine())
        if changed:
            raise UserError(stale_message(target.name, changed))
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
