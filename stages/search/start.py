"""Where a search starts: the uniform distribution, or one that another search learnt.

A distribution is saved by NAMES of groups, variables and options, so it starts searches in other
spaces too: what has the same name is taken over, everything else starts uniform, and
`start.json` says which was which. The file `uniform.json` beside this one knows no name: it is the
uniform start, and a file, because DVC needs one to depend on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.distribution import SCHEMA as DISTRIBUTION_SCHEMA
from models.distribution import Distribution, Matched
from models.space import Group
from stages.common.files import read_json


@dataclass(frozen=True)
class Start:
    """A start and how much of it fitted.

    Attributes:
        distribution: over the groups of the space; None is the uniform one.
        saved_form: the file's.
        matched: what was taken over by name.
        weight: what its logits were multiplied by.
    """

    distribution: Distribution | None
    saved_form: str
    matched: Matched
    weight: float

    @classmethod
    def read(cls, file: Path, groups: Sequence[Group], weight: float) -> Start:
        """Take over what a saved distribution knows of these groups.

        A saved one may be so sharp that evidence would never move it: `weight` flattens it.

        Raises:
            FileFormatError: the file is missing or of another kind.
            DistributionError: its content is not names and numbers.
        """
        content = read_json(file, DISTRIBUTION_SCHEMA)
        saved, matched = Distribution.from_json(content, groups)
        known = saved.with_logits(weight * saved.logits) if matched.found else None
        return cls(known, saved.form, matched, weight)

    def report(self, used: bool) -> dict[str, Any]:
        """The content of `start.json`.

        Args:
            used: whether the algorithm starts from a distribution at all.
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

    def said(self, used: bool) -> str:
        """One line for people; empty where nothing was asked for."""
        if self.distribution is None and not self.matched.unused:
            return ""
        if not used:
            return "search.start_from is not read by this algorithm: it has no distribution."
        if self.distribution is None:
            return "nothing in search.start_from has a name of this space: starting uniform."
        return f"starting from a saved distribution: {self.matched}."
