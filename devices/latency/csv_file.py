"""A device's latencies as a CSV file, for offline devices.

One row is a building block or a whole network: `kind` (reference, block or network), `key`,
`precision`, `file` (the model), `ms` (milliseconds per image at batch 1, median), `low_ms` and
`high_ms` (its 95% confidence interval), `spread`. Lines that begin with # are remarks;
`# machine: {...}` says what it was measured on. Every block is required, in float32; for each
precision either all whole networks or none are required. Of the measurement only `ms` is read.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.settings import nearest
from devices.latency.networks import network_key
from devices.latency.profiling import FLOAT32, Milliseconds, Plan

COLUMNS = ("kind", "key", "precision", "file", "ms", "low_ms", "high_ms", "spread")
REFERENCE_KEY = "reference"
_NEEDED = ("kind", "key", "precision", "ms")
_MACHINE = "# machine:"
_MOST_BYTES = 1 << 26
_SLOWEST_MS = 1e5
_SHOWN = 8


@dataclass(frozen=True)
class Imported:
    """The content of a complete table.

    Attributes:
        found: milliseconds of blocks and networks.
        precisions: in which whole networks were measured, float32 first; empty: only blocks.
        machine: what it was measured on, if given.
    """

    found: Milliseconds
    precisions: tuple[str, ...]
    machine: dict[str, Any] | None


def template(plan: Plan, files: Mapping[str, Path], folder: Path) -> bytes:
    """Build a table with every row and empty milliseconds.

    Args:
        plan: what has to be measured.
        files: the models by block key, `network_key`, or `reference`.
        folder: base of the relative file names.
    """
    rows = [("reference", REFERENCE_KEY, FLOAT32, files[REFERENCE_KEY])]
    rows += [("block", key, FLOAT32, files[key]) for key in plan.blocks]
    for precision in plan.precisions:
        for architecture in plan.networks:
            file = files[network_key(architecture, precision)]
            rows.append(("network", architecture.id, precision, file))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for kind, key, precision, file in rows:
        writer.writerow((kind, key, precision, file.relative_to(folder).as_posix(), *[""] * 4))
    return text.getvalue().encode()


def read_table(path: Path, plan: Plan) -> Imported:
    """Read and validate a filled table.

    Args:
        path: the CSV file.
        plan: what it has to contain.

    Raises:
        UserError: something is wrong or missing; all problems are listed.
    """
    lines = _lines(path)
    remarks = [line for line in lines if line.startswith("#")]
    reader = csv.DictReader(line for line in lines if line.strip() and not line.startswith("#"))
    columns = [name.strip() for name in reader.fieldnames or ()]
    lacking = [name for name in _NEEDED if name not in columns]
    if lacking:
        raise UserError(
            f"{path} has no column {', '.join(repr(name) for name in lacking)}; it has "
            f"{', '.join(columns) or 'none'}. `ms` is milliseconds per image at batch 1. "
            "netwright profile NAME --export-models FOLDER writes a table to fill in."
        )
    reader.fieldnames = columns
    reading = _Reading(plan)
    for number, row in enumerate(reader, start=1):
        reading.take(number, row)
    reading.check_complete()
    problems = [*reading.problems, *_machine_problems(remarks)]
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        listed = "\n".join(f"  {problem}" for problem in problems[:_SHOWN])
        raise UserError(f"{path} cannot be imported, and nothing was replaced:\n{listed}{more}")
    precisions = tuple(p for p in plan.precisions if reading.measured_in(p))
    return Imported(Milliseconds(reading.blocks, reading.networks), precisions, _machine(remarks))


@dataclass
class _Reading:
    """Rows read so far, and their problems."""

    plan: Plan
    blocks: dict[str, float] = field(default_factory=dict)
    networks: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids = {architecture.id: architecture for architecture in self.plan.networks}

    def take(self, number: int, row: Mapping[str, str | None]) -> None:
        """Read one row; an empty `ms` counts as a missing row."""
        kind, key, precision, text = ((row.get(name) or "").strip() for name in _NEEDED)
        if kind == "reference" or not text:
            return
        where = f"row {number} ({kind} '{key}' in {precision})"
        try:
            ms = float(text)
        except ValueError:
            ms = math.nan
        if not 0 < ms < _SLOWEST_MS:  # also rejects NaN
            self.problems.append(
                f"{where}: ms is {text!r}, and must be a number between 0 and {_SLOWEST_MS:g}"
            )
            return
        if kind == "block":
            if precision != FLOAT32:
                self.problems.append(f"{where}: blocks are only measured in {FLOAT32}")
            elif key not in self.plan.blocks:
                self.problems.append(f"{where}: the space has no such block")
            else:
                self._put(self.blocks, key, ms, where)
        elif kind == "network":
            if precision not in self.plan.precisions:
                known = ", ".join(self.plan.precisions)
                self.problems.append(f"{where}: the device's precisions are {known}")
            elif key not in self._ids:
                self.problems.append(f"{where}: not one of the requested networks")
            else:
                self._put(self.networks, network_key(self._ids[key], precision), ms, where)
        else:
            kinds = ("reference", "block", "network")
            self.problems.append(f"{where}: kind is {kind!r}.{nearest(kind, kinds)}")

    def _put(self, table: dict[str, float], key: str, ms: float, where: str) -> None:
        if key in table:
            self.problems.append(f"{where}: listed twice")
        table[key] = ms

    def measured_in(self, precision: str) -> bool:
        """Whether any whole network was measured in a precision."""
        return any(network_key(a, precision) in self.networks for a in self.plan.networks)

    def check_complete(self) -> None:
        """Report missing rows."""
        self._missing("block", [key for key in self.plan.blocks if key not in self.blocks])
        for precision in self.plan.precisions:
            if self.measured_in(precision):
                gone = [a.id for a in self.plan.networks
                        if network_key(a, precision) not in self.networks]  # fmt: skip
                self._missing(f"{precision} network", gone)
        if self.networks and not self.measured_in(FLOAT32):
            self.problems.append(f"whole networks were measured, but none in {FLOAT32}")

    def _missing(self, what: str, keys: Sequence[str]) -> None:
        if keys:
            named = ", ".join(f"'{key}'" for key in keys[:3])
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            self.problems.append(f"{len(keys)} {what}(s) without milliseconds: {named}{more}")


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is too large for a table: {path.stat().st_size:,} bytes.")
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a text file: {error}") from error


def _machine(remarks: Sequence[str]) -> dict[str, Any] | None:
    for line in remarks:
        if line.startswith(_MACHINE):
            return dict(json.loads(line.removeprefix(_MACHINE)))
    return None


def _machine_problems(remarks: Sequence[str]) -> list[str]:
    try:
        _machine(remarks)
    except (ValueError, TypeError) as error:
        return [f"the remark '{_MACHINE}' does not hold a JSON object: {error}"]
    return []
