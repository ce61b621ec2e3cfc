"""The words of a stage's command that stand for something the user wrote.

DVC hands a command to a shell as one text. Nothing that comes from `params.yaml` may be a part of
it: a folder called `imgs;x` would run `x`. In `dvc.yaml` a command therefore has `@data.path` where
the folder is meant, and the stage puts the value in, after the shell. By hand, plain values do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from stages.common.params import ParamsError, read_yaml

DEVICE = "device"
KEYS = ("data.path", "space.file", "teacher.file", "search.start_from", "fleet.share")
"""Keys of the params that a command may stand for; besides, `@device`: the stage's own device."""

_WORD = re.compile("@(" + "|".join(re.escape(key) for key in (DEVICE, *KEYS)) + ")")


def fill_in(words: Sequence[str], stage: str | None) -> list[str]:
    """A command's words with the params' values in them.

    Args:
        words: of the command; `--params FILE` among them says which params.
        stage: DVC's name of the stage, such as `train@edge-cpu`; None without DVC.

    Raises:
        ParamsError: a value is missing, or is none that can stand in a path.
    """
    if not any(_WORD.search(word) for word in words):
        return list(words)
    params = _params_file(words)
    content = read_yaml(params)

    def value(match: re.Match[str]) -> str:
        key = match[1]
        return _device(stage) if key == DEVICE else _value(content, key, params)

    return [_WORD.sub(value, word) for word in words]


def _params_file(words: Sequence[str]) -> Path:
    for word, following in pairwise(words):
        if word == "--params":
            return Path(following)
    raise ParamsError("a command with @ in it needs --params FILE, where the values stand.")


def _device(stage: str | None) -> str:
    name = (stage or "").partition("@")[2]
    if not name:
        raise ParamsError(
            "@device is the device of the stage that DVC runs: by hand, write the device's name."
        )
    if "/" in name or not name.isprintable() or name.startswith((".", "-")):
        raise ParamsError(
            f"devices: {name!r} cannot be a device's name: it is the name of folders, too. Use "
            "lower-case letters, digits, - and _."
        )
    return name


def _value(content: Mapping[str, object], key: str, params: Path) -> str:
    section, _, name = key.partition(".")
    values = content.get(section)
    value = values.get(name) if isinstance(values, Mapping) else None
    if isinstance(value, bool):
        return str(value).lower()  # as DVC writes it into paths
    if not isinstance(value, str) or not value:
        raise ParamsError(f"{params}: {key} must be a text (got {value!r}).")
    return value
