"""`latency.json`: the result of profiling a device, or why it could not be measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from core.files import atomic_path, read_json, write_bytes, write_json
from devices.latency.binding import BudgetUse
from devices.latency.table import LatencyTable
from devices.measure.reference import LATENCY, REFERENCE


@dataclass(frozen=True)
class DeviceProfile:
    """Latency model of a device and the measurement behind it; None for what was not measured.

    Attributes:
        table: the latency model; without blocks if the device was not measured.
        budget_ms: the device's latency budget, milliseconds per image.
        why_not_measured: why the device was not measured.
        imported: the imported table of a device that was measured offline.
        machine: fingerprint of the machine that was measured.
        protocol: settings of the measurement, by name.
        reference: architecture of the reference network, as JSON values.
        reference_ms: its milliseconds per image.
        budgets: how far each budget binds in the device's space; latency only if measured.
        measurements: milliseconds, interval, spread, and numbers of blocks by model.
        reference_onnx: the reference network's ONNX file; None after `read`.
    """

    SCHEMA: ClassVar[str] = LATENCY
    FILE: ClassVar[str] = "latency.json"

    table: LatencyTable
    budget_ms: float | None = None
    why_not_measured: str | None = None
    imported: Mapping[str, Any] | None = None
    machine: Mapping[str, Any] | None = None
    protocol: Mapping[str, Any] | None = None
    reference: Mapping[str, Any] | None = None
    reference_ms: float | None = None
    budgets: tuple[BudgetUse, ...] = ()
    measurements: Mapping[str, Any] | None = None
    reference_onnx: bytes | None = None

    @classmethod
    def read(cls, folder: Path) -> DeviceProfile:
        """Read the file from the output folder of the stage `profile`.

        Raises:
            FileFormatError: it is missing or has another schema.
            UserError: the latency model is incomplete.
        """
        content = read_json(folder / cls.FILE, cls.SCHEMA)
        values = {name: content.get(name) for name in _recorded()}
        uses = tuple(BudgetUse.model_validate(use) for use in content.get("budgets", ()))
        return cls(LatencyTable.from_json(content), budgets=uses, **values)

    def write(self, out: Path) -> None:
        """Write the reference network, a picture of the model's error, and last `latency.json`."""
        if self.reference_onnx is not None:
            write_bytes(out / REFERENCE, self.reference_onnx)
        if self.table.error:
            draw_held_out(self.table, out / "latency.png")
        recorded = {name: getattr(self, name) for name in _recorded()}
        recorded["budgets"] = [use.model_dump() for use in self.budgets]
        write_json(out / self.FILE, self.SCHEMA, self.table.to_json() | recorded)


def _recorded() -> list[str]:
    """Names of the fields that are keys of the file, with the same values."""
    others = {"table", "reference_onnx", "budgets"}
    return [row.name for row in fields(DeviceProfile) if row.name not in others]


def draw_held_out(table: LatencyTable, path: Path) -> None:
    """Plot predicted against measured milliseconds of held-out networks, by precision.

    Equal tables give equal bytes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    values = [value for error in table.error.values() for pair in error.pairs for value in pair]
    low, high = min(values) * 0.9, max(values) * 1.1
    axes.plot([low, high], [low, high], color="0.6", linewidth=1)
    axes.fill_between(
        [low, high], [low * 0.9, high * 0.9], [low * 1.1, high * 1.1], color="0.92", label="±10%"
    )
    for precision, error in table.error.items():
        predicted, measured = zip(*error.pairs, strict=True)
        model = "blocks" if table.additive(precision) else "regression"
        label = f"{precision}: {error.mean:.1%} mean error ({model})"
        axes.scatter(measured, predicted, s=24, label=label, zorder=3)
    axes.set(
        xlim=(low, high),
        ylim=(low, high),
        xlabel="measured, ms per image",
        ylabel="predicted, ms per image",
        title=f"{table.device} ({table.backend}): held-out networks",
    )
    axes.legend()
    with atomic_path(path) as temporary:
        # The default metadata contains matplotlib's version.
        figure.savefig(temporary, format="png", metadata={"Software": None})
