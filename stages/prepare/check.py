"""A quick look at the data's source before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

from data.errors import DataError
from data.sources import SOURCES
from stages.common.data_params import DataParams


def check_source(params: DataParams, fetched: Path | None = None) -> None:
    """See whether `params.path` can hold the data set, without decoding it.

    Args:
        params: the `data` section.
        fetched: where the fetch stage writes. A `data.path` equal to it is filled by that stage,
            so it need not hold anything yet. None: unknown; then a folder that does not exist
            yet, or that fetch has filled before, is left to that stage.

    Raises:
        DataError: what is missing, and what to do about it.
    """
    source, folder = SOURCES[params.source], Path(params.path)
    _require_plain(params.path)
    if fetched is None:
        to_be_fetched = _may_be_fetched(folder)
    else:
        to_be_fetched = folder.resolve() == fetched.resolve()
    if not to_be_fetched:
        source.check(folder)
    elif not source.fetchable:
        raise DataError(
            f"data.source '{params.source}' reads your own images, and data.path is '{folder}', "
            "which holds none: set data.path to the folder with one subfolder for every class."
        )


def check_images(params: DataParams) -> None:
    """Look at the user's own images before DVC hashes them: its messages would not name the file.

    A folder that is not there, or that fetch has filled, is left to `check_source`.

    Raises:
        DataError: what is wrong with which file, and what to do about it.
    """
    source, folder = SOURCES[params.source], Path(params.path)
    _require_plain(params.path)
    if not source.fetchable and not _may_be_fetched(folder):
        source.check(folder)


def _may_be_fetched(folder: Path) -> bool:
    """Whether nothing is there yet, or what fetch has put there."""
    try:
        folder.lstat()
        return (folder / "source.json").is_file()
    except FileNotFoundError:
        return True
    except OSError:  # closed, or no possible name: `check` says so
        return False


def _require_plain(path: str) -> None:
    """Refuse a path that only a shell would understand."""
    if path.startswith("~") and not os.path.lexists(path):
        raise DataError(
            f"data.path '{path}': ~ is the shell's, and is not replaced in params.yaml. "
            f"Write {_home(path)}."
        )
    if "\0" in path:
        raise DataError("data.path holds a zero byte, which no file's name can have.")


def _home(path: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # a user who is not known here
        return "the whole path"
