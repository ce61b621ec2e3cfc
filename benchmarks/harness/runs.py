"""Finished runs of a benchmark, kept on disk so that a stopped benchmark resumes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from core.files import fingerprint, read_json, write_json

SCHEMA = "netwright/benchmark/run/1"
Row = dict[str, Any]


class Runs:
    """Results by name, one JSON file each; runs with other `inputs` are not reused."""

    def __init__(self, work: Path, *inputs: object) -> None:
        self.folder = work / fingerprint(*inputs)[:12]
        self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, compute: Callable[[], Row]) -> Row:
        """The result of a run, computed and written where there is none."""
        row = self.find(name)
        if row is not None:
            return row
        write_json(self._file(name), SCHEMA, compute())
        print(f"{name}: done", flush=True)
        return self._read(name)

    def find(self, name: str) -> Row | None:
        """The result of a finished run; None where there is none."""
        return self._read(name) if self._file(name).is_file() else None

    def _read(self, name: str) -> Row:
        content = read_json(self._file(name), SCHEMA)
        return {key: value for key, value in content.items() if key != "schema"}

    def _file(self, name: str) -> Path:
        return self.folder / f"{re.sub(r'[^A-Za-z0-9_.]+', '-', name)}.json"

    def every(
        self, arms: Mapping[str, Callable[[int], Row]], seeds: Iterable[int]
    ) -> dict[str, list[Row]]:
        """Every arm with every seed; all arms of a seed first, so that a stopped one has pairs."""
        found: dict[str, list[Row]] = {arm: [] for arm in arms}
        for seed in seeds:
            for arm, run in arms.items():
                found[arm].append(self.get(f"{arm}-seed{seed}", lambda run=run, s=seed: run(s)))  # type: ignore[misc]
        return found
