"""Groups: images of one part, person or video, which stay in one split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from core.errors import UserError
from data.image_walk import join_first

GROUP = "group"
"""Name of the regular expression's group."""


def check_group(rule: int | str | None) -> int | str | None:
    """Return `data.group` if it is valid.

    Raises:
        ValueError: it is neither a level from 1 on nor a regular expression with a named group.
    """
    if isinstance(rule, int) and rule < 1:
        raise ValueError("a folder level begins with 1, the folder that holds the image")
    if isinstance(rule, str):
        try:
            pattern = re.compile(rule)
        except re.error as error:
            raise ValueError(f"{rule!r} is no regular expression: {error}") from None
        if GROUP not in pattern.groupindex:
            raise ValueError(
                f"{rule!r} has no group called '{GROUP}': write (?P<{GROUP}>...) around the part "
                "of the file name that names the part, person or video"
            )
    return rule


def group_names(
    rule: int | str | None, names: Sequence[str], own: Sequence[str] = ()
) -> Sequence[str]:
    """The group per image; empty: there are none.

    Args:
        rule: `data.group`; None: the groups of the source.
        names: of the images, paths in the data set.
        own: the groups of the source.

    Raises:
        UserError: an image has no group.
    """
    if rule is None:
        return own
    if not names:
        raise UserError("data.group needs images with file names, which this data.source has not.")
    found = [_level(rule, name) if isinstance(rule, int) else _match(rule, name) for name in names]
    without = [name or "(no path)" for name, group in zip(names, found, strict=True) if not group]
    if without:
        wanted = f"no folder at level {rule}" if isinstance(rule, int) else f"no match of '{rule}'"
        raise UserError(
            f"data.group: {len(without)} of {len(names)} images have {wanted}: "
            f"{join_first(without)}. Change data.group so that every image has a group."
        )
    return [group or "" for group in found]


def _level(level: int, name: str) -> str | None:
    parts = PurePosixPath(name).parts[:-1]
    return parts[-level] if len(parts) >= level else None


def _match(pattern: str, name: str) -> str | None:
    found = re.search(pattern, name)
    return None if found is None else found[GROUP]
