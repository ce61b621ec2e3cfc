"""A device's latencies as a CSV file, for devices that no pipeline can reach.

One row is a building block or a whole network: `kind` (reference, block or network), `key`,
`precision`, `file` (the model), `ms` (milliseconds per image at batch 1, median), `low_ms` and
`high_ms` (its 95% confidence interval), `spread`. Lines that begin with # are remarks;
`# machine: {...}` says what it was measured on. Every block is needed, in float32; whole networks
are needed in all of a precision or in none of it. Of the measurement `ms` alone is read.
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

from stages.common.params import nearest
from stages.profile.measuring import FLOAT32, Milliseconds, Plan
from stages.profile.networks import network_key

COLUMNS = ("kind", "key", "precision", "file", "ms", "low_ms", "high_ms", "spread")
REFERENCE_KEY = "reference"
_NEEDED = ("kind", "key", "precision", "ms")
_MACHINE = "# machine:"
_MOST_BYTES = 1 << 26
_SLOWEST_MS = 1e5
_SHOWN = 8


class TableError(ValueError):
    """A table that cannot be imported; the message lists all that is wrong with it."""


@dataclass(frozen=True)
class Imported:
    """What a table holds, once it is complete.

    Attributes:
        found: milliseconds of blocks and networks.
        precisions: in which whole networks were measured, float32 first; none: blocks alone.
        machine: what it was measured on, if it says so.
    """

    found: Milliseconds
    precisions: tuple[str, ...]
    machine: dict[str, Any] | None


def template(plan: Plan, files: Mapping[str, Path], folder: Path) -> bytes:
    """A table with every row and no milliseconds.

    Args:
        plan: what has to be measured.
        files: the models by block key, `network_key`, or `reference`.
        folder: which the files are named from.
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
    """Read a filled table and check it completely.

    Args:
        path: the CSV file.
        plan: what has to be in it.

    Raises:
        TableError: something is wrong or missing; all of it is listed.
    """
    lines = _lines(path)
    remarks = [line for line in lines if line.startswith("#")]
    reader = csv.DictReader(line for line in lines if line.strip() and not line.startswith("#"))
    columns = [name.strip() for name in reader.fieldnames or ()]
    lacking = [name for name in _NEEDED if name not in columns]
    if lacking:
        raise TableError(
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
        raise TableError(f"{path} cannot be imported, and nothing was replaced:\n{listed}{more}")
    precisions = tuple(p for p in plan.precisions if reading.measured_in(p))
    return Imported(Milliseconds(reading.blocks, reading.networks), precisions, _machine(remarks))


@dataclass
class _Reading:
    """The rows so far, and what is wrong with them."""

    plan: Plan
    blocks: dict[str, float] = field(default_factory=dict)
    networks: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids = {architecture.id: architecture for architecture in self.plan.networks}

    def take(self, number: int, row: Mapping[str, str | None]) -> None:
        """One row; an empty `ms` is a row that is missing."""
        kind, key, precision, text = ((row.get(name) or "").strip() for name in _NEEDED)
        if kind == "reference" or not text:
            return
        where = f"row {number} ({kind} '{key}' in {precision})"
        try:
            ms = float(text)
        except ValueError:
            ms = math.nan
        if not 0 < ms < _SLOWEST_MS:  # also refuses what is not a number
            self.problems.append(
                f"{where}: ms is {text!r}, and must be a number between 0 and {_SLOWEST_MS:g}"
            )
            return
        if kind == "block":
            if precision != FLOAT32:
                self.problems.append(f"{where}: blocks are measured in {FLOAT32} alone")
            elif key not in self.plan.blocks:
                self.problems.append(f"{where}: the space has no such block")
            else:
                self._put(self.blocks, key, ms, where)
        elif kind == "network":
            if precision not in self.plan.precisions:
                known = ", ".join(self.plan.precisions)
                self.problems.append(f"{where}: the device's precisions are {known}")
            elif key not in self._ids:
                self.problems.append(f"{where}: not one of the networks that were asked for")
            else:
                self._put(self.networks, network_key(self._ids[key], precision), ms, where)
        else:
            kinds = ("reference", "block", "network")
            self.problems.append(f"{where}: kind is {kind!r}.{nearest(kind, kinds)}")

    def _put(self, table: dict[str, float], key: str, ms: float, where: str) -> None:
        if key in table:
            self.problems.append(f"{where}: stands twice")
        table[key] = ms

    def measured_in(self, precision: str) -> bool:
        """Whether any whole network was measured in a precision."""
        return any(network_key(a, precision) in self.networks for a in self.plan.networks)

    def check_complete(self) -> None:
        """Name what is missing."""
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
            raise TableError(f"{path} is larger than any table: {path.stat().st_size:,} bytes.")
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read as a text file: {error}") from error


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
