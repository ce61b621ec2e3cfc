"""Placeholders in a stage's command that stand for params values.

DVC passes a command to a shell as one string. No value of `params.yaml` may be part of it: a folder
called `imgs;x` would run `x`. A command in `dvc.yaml` therefore contains `@data.path` in place of
the folder, and the stage substitutes the value itself. Run by hand, plain values work too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from core.yaml_file import ParamsError, read_yaml

DEVICE = "device"
KEYS = (
    "data.path",
    "space.file",
    "supernet.file",
    "teacher.file",
    "search.start_from",
    "race.ledger",
    "fleet.share",
)
"""Params keys allowed as placeholders, in addition to `@device`, the stage's own device."""

_WORD = re.compile("@(" + "|".join(re.escape(key) for key in (DEVICE, *KEYS)) + ")")


def fill_in(words: Sequence[str], stage: str | None) -> list[str]:
    """Substitute params values for the placeholders in arguments with `--params FILE`.

    Args:
        words: the command's arguments.
        stage: DVC's name of the stage, such as `train@edge-cpu`; None without DVC.

    Raises:
        ParamsError: a value is missing, or cannot be used in a path.
    """
    if not any(_WORD.search(word) for word in words):
        return list(words)
    params = next((Path(file) for word, file in pairwise(words) if word == "--params"), None)
    if params is None:
        raise ParamsError("a command with an @ placeholder needs --params FILE to read it from.")
    content = read_yaml(params)

    def value(match: re.Match[str]) -> str:
        key = match[1]
        return _device(stage) if key == DEVICE else _value(content, key, params)

    return [_WORD.sub(value, word) for word in words]


def _device(stage: str | None) -> str:
    name = (stage or "").partition("@")[2]
    if not name:
        raise ParamsError(
            "@device is only set when DVC runs the stage: by hand, write the device's name."
        )
    if "/" in name or not name.isprintable() or name.startswith((".", "-")):
        raise ParamsError(
            f"devices: {name!r} is not a valid device name, because folders are named after it. "
            "Use lower-case letters, digits, - and _."
        )
    return name


def _value(content: Mapping[str, object], key: str, params: Path) -> str:
    section, _, name = key.partition(".")
    values = content.get(section)
    value = values.get(name) if isinstance(values, Mapping) else None
    if isinstance(value, bool):
        return str(value).lower()  # as DVC writes it into paths
    if not isinstance(value, str) or not value:
        raise ParamsError(f"{params}: {key} must be a string (got {value!r}).")
    return value
