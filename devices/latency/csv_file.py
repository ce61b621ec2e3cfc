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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError, nearest
from devices.latency.plan import Plan
from devices.latency.table import FLOAT32, network_key

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
        found_ms: milliseconds of blocks by key, and of networks by `network_key`.
        precisions: in which whole networks were measured, float32 first; empty: only blocks.
        machine: what it was measured on, if given.
    """

    found_ms: Mapping[str, float]
    precisions: tuple[str, ...]
    machine: dict[str, Any] | None


def template(plan: Plan, files: Mapping[str, Path], folder: Path) -> bytes:
    """Build a table with every row and empty milliseconds; file names are relative to `folder`.

    The models' files are by block key, `network_key`, or `reference`.
    """
    rows = [("reference", REFERENCE_KEY, FLOAT32, files[REFERENCE_KEY])]
    rows += [("block", key, FLOAT32, files[key]) for key in plan.blocks]
    rows += [
        ("network", architecture.id, precision, files[network_key(architecture, precision)])
        for precision in plan.precisions
        for architecture in plan.networks
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for kind, key, precision, file in rows:
        writer.writerow((kind, key, precision, file.relative_to(folder).as_posix(), *[""] * 4))
    return text.getvalue().encode()


def read_table(path: Path, plan: Plan) -> Imported:
    """Read and validate a filled table, which has to contain what the plan says.

    Raises:
        UserError: something is wrong or missing; all problems are listed.
    """
    lines = _lines(path)
    found_ms, problems = _read_rows(path, lines, plan)
    precisions = tuple(p for p in plan.precisions if found_ms.keys() & _networks(plan, p).keys())
    problems += _missing(plan, precisions, found_ms)
    machine = None
    try:
        machine = _machine(lines)
    except (ValueError, TypeError) as error:
        problems.append(f"the remark '{_MACHINE}' does not hold a JSON object: {error}")
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        listed = "\n".join(f"  {problem}" for problem in problems[:_SHOWN])
        raise UserError(f"{path} cannot be imported, and nothing was replaced:\n{listed}{more}")
    return Imported(found_ms, precisions, machine)


def _read_rows(path: Path, lines: Sequence[str], plan: Plan) -> tuple[dict[str, float], list[str]]:
    """Milliseconds by key, and what is wrong with the other rows.

    Raises:
        UserError: a column is missing.
    """
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
    found_ms: dict[str, float] = {}
    problems = []
    for number, row in enumerate(reader, start=1):
        kind, key, precision, text = ((row.get(name) or "").strip() for name in _NEEDED)
        if kind == "reference" or not text:  # an empty `ms` counts as a missing row
            continue
        place = key if kind == "block" else f"{precision}-{key}"
        why = _row_problem(plan, kind, key, precision, text)
        if why is None and place in found_ms:
            why = "listed twice"
        if why is None:
            found_ms[place] = float(text)
        else:
            problems.append(f"row {number} ({kind} '{key}' in {precision}): {why}")
    return found_ms, problems


def _row_problem(plan: Plan, kind: str, key: str, precision: str, text: str) -> str | None:
    """What is wrong with one row; None if nothing is."""
    try:
        ms = float(text)
    except ValueError:
        ms = math.nan
    if not 0 < ms < _SLOWEST_MS:  # also rejects NaN
        return f"ms is {text!r}, and must be a number between 0 and {_SLOWEST_MS:g}"
    if kind == "block":
        if precision != FLOAT32:
            return f"blocks are only measured in {FLOAT32}"
        return None if key in plan.blocks else "the space has no such block"
    if kind == "network":
        if precision not in plan.precisions:
            return f"the device's precisions are {', '.join(plan.precisions)}"
        known = key in {architecture.id for architecture in plan.networks}
        return None if known else "not one of the requested networks"
    return f"kind is {kind!r}.{nearest(kind, ('reference', 'block', 'network'))}"


def _networks(plan: Plan, precision: str) -> dict[str, str]:
    """Ids of the networks to measure, by `network_key`."""
    return {network_key(a, precision): a.id for a in plan.networks}


def _missing(plan: Plan, precisions: Sequence[str], found_ms: Mapping[str, float]) -> Iterator[str]:
    """Problems of what is not in the table, given in which precisions it has networks."""
    wanted = {"block": {key: key for key in plan.blocks}}
    wanted |= {f"{precision} network": _networks(plan, precision) for precision in precisions}
    for what, names in wanted.items():
        gone = [f"'{name}'" for key, name in names.items() if key not in found_ms]
        if gone:
            more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
            yield f"{len(gone)} {what}(s) without milliseconds: {', '.join(gone[:3])}{more}"
    if precisions and FLOAT32 not in precisions:
        yield f"whole networks were measured, but none in {FLOAT32}"


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is too large for a table: {path.stat().st_size:,} bytes.")
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a text file: {error}") from error


def _machine(lines: Sequence[str]) -> dict[str, Any] | None:
    for line in lines:
        if line.startswith(_MACHINE):
            return dict(json.loads(line.removeprefix(_MACHINE)))
    return None
