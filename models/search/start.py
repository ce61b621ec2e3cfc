"""Initial distribution of a search: uniform, or saved by another search.

A distribution is saved by NAMES of groups, variables and options, so it also starts searches in
other spaces: logits with the same name are copied, all others start uniform, and `start.json`
records which. The file `uniform.json` in this folder contains no names: it is the uniform start,
needed because DVC requires a file as a dependency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import read_json
from models.space.distribution import SCHEMA as DISTRIBUTION_SCHEMA
from models.space.distribution import Distribution, Matched
from models.space.space import Group


@dataclass(frozen=True)
class Start:
    """An initial distribution and which of its logits matched.

    Attributes:
        distribution: over the groups of the space; None: uniform.
        saved_form: the form in the file.
        matched: logits matched by name.
        weight: factor of the logits.
    """

    distribution: Distribution | None
    saved_form: str
    matched: Matched
    weight: float

    @classmethod
    def read(cls, file: Path, groups: Sequence[Group], weight: float) -> Start:
        """Read a saved distribution and match it to these groups.

        A saved one may be too sharp for the search to change it: `weight` flattens it.

        Raises:
            FileFormatError: the file is missing or has another schema.
            UserError: its content is malformed.
        """
        content = read_json(file, DISTRIBUTION_SCHEMA)
        saved, matched = Distribution.from_json(content, groups)
        known = saved.with_logits(weight * saved.logits) if matched.found else None
        return cls(known, saved.form, matched, weight)

    def report(self, used: bool) -> dict[str, Any]:
        """The content of `start.json`.

        Args:
            used: whether the algorithm uses an initial distribution.
        """
        return {
            "used": used and self.distribution is not None,
            "saved_form": self.saved_form,
            "weight": self.weight,
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
