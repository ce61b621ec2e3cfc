"""Initial distribution of a search: uniform, or saved by another search.

A distribution is saved by NAMES of groups, variables and options, so it also starts searches in
other spaces: logits with the same name are copied, all others start uniform, and `start.json`
records which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import FileFormatError, read_json
from models.space.distribution import SCHEMA as DISTRIBUTION_SCHEMA
from models.space.distribution import Distribution, Matched
from models.space.groups import Group

FILE = "distribution.json"


def read_start(path: Path) -> dict[str, Any]:
    """The content of a saved distribution, or of the one in a folder; no names if that is empty.

    Raises:
        FileFormatError: it is missing or has another schema.
    """
    if not path.exists():
        raise FileFormatError(
            f"search.start_from: {path} does not exist. Set it to a saved {FILE}, or to "
            "models/inputs/start to begin with the uniform distribution."
        )
    if path.is_dir() and not (path / FILE).exists():
        if any(not file.name.startswith(".") for file in path.iterdir()):
            raise FileFormatError(
                f"{path} has files, but no {FILE}: name the file, or an empty folder."
            )
        return {"form": "factorised", "groups": {}}
    return read_json(path / FILE if path.is_dir() else path, DISTRIBUTION_SCHEMA)


@dataclass(frozen=True)
class Start:
    """An initial distribution and which of its logits matched by name."""

    distribution: Distribution | None
    """Over the groups of the space; None: uniform."""
    saved_form: str
    matched: Matched

    @classmethod
    def read(cls, path: Path, groups: Sequence[Group]) -> Start:
        """Read a saved distribution and match it to these groups.

        Raises:
            FileFormatError: the file is missing or has another schema.
            UserError: its content is malformed.
        """
        saved, matched = Distribution.from_json(read_start(path), groups)
        return cls(saved if matched.found else None, saved.form, matched)

    def report(self, weight: float | None) -> dict[str, Any]:
        """The content of `start.json`; `weight` is `Algorithm.start_weight`."""
        return {
            "used": weight is not None and self.distribution is not None,
            "saved_form": self.saved_form,
            "weight": weight,
            "matched_logits": len(self.matched.found),
            "logits": len(self.matched.found) + len(self.matched.missing),
            "groups": self.matched.by_group(),
            "unused": list(self.matched.unused),
        }

    def describe(self, used: bool) -> str:
        """One-line summary; empty if no start was requested."""
        if self.distribution is None and not self.matched.unused:
            return ""
        if not used:
            return "search.start_from is ignored: this algorithm has no distribution."
        if self.distribution is None:
            return "no name in search.start_from matches this space: starting uniform."
        return f"starting from a saved distribution: {self.matched}."
