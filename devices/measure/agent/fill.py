"""Measure an exported folder of models, for a device without network access."""

from __future__ import annotations

import csv
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .jobs import finish_job, start_job
from .protocol import MeasurementError, Protocol
from .queue import Limits


def fill(table: Path, backend: str, threads: int, protocol: Protocol, unit: str = "CPU") -> None:
    """Measure every model listed in a table, and write the milliseconds into it.

    Raises:
        MeasurementError: a model cannot be measured; the table is not changed.
    """
    lines = table.read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    reference = next(row for row in rows if row["kind"] == "reference")
    job = {"kind": "measure", "backend": backend, "threads": threads, "unit": unit}
    job["protocol"] = asdict(protocol)
    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        found.append(_measure_file(table.parent, row, reference, job))
        print(f"{number + 1}/{len(rows)} {row['key']} {row['precision']}", flush=True)
    # All ratios are scaled by the reference's median over the whole session.
    reference_ms = float(np.median([answer["reference_ms"] for answer in found]))
    temporary = table.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        about = {**found[-1]["machine"], "session_threads": threads}
        if unit != "CPU":
            about["unit"] = unit
        file.write(f"# machine: {json.dumps(about, sort_keys=True)}\n")
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row, answer in zip(rows, found):  # noqa: B905 - equal lengths; older Pythons
            filled = {"spread": f"{answer['spread']:.4f}"}
            for column, key in (("ms", "ratio"), ("low_ms", "low"), ("high_ms", "high")):
                filled[column] = f"{answer[key] * reference_ms:.6f}"
            writer.writerow({**row, **filled})
    temporary.replace(table)


def _measure_file(
    base: Path, row: dict[str, str], reference: dict[str, str], job: dict[str, Any]
) -> dict[str, Any]:
    files = {"model": row["file"], "reference": reference["file"]}
    paths = {role: str((base / file).resolve()) for role, file in files.items()}
    with tempfile.TemporaryDirectory(prefix="netwright-agent-") as root:
        folder = Path(root) / "job"
        folder.mkdir()
        answer = finish_job(folder, start_job(folder, {**job, **paths}), Limits().seconds)
    if "error" in answer:
        raise MeasurementError(f"{row['file']}: {answer['error']}")
    return answer
