"""Quick checks of the data source before a run starts."""

from __future__ import annotations

import os
from pathlib import Path

from core.errors import UserError
from data.settings import DataParams
from data.sources import SOURCES


def check_source(params: DataParams, fetched: Path | None = None) -> None:
    """Check whether `params.path` can hold the data set, without decoding it.

    `fetched` is the output folder of the fetch stage, which may still be empty if `data.path` is
    equal to it. None: unknown; then a folder that does not exist, or was filled by an earlier
    fetch, is not checked.

    Raises:
        UserError: something is missing; the message says what to do.
    """
    source, folder = SOURCES[params.source], _plain_path(params)
    if fetched is None:
        to_be_fetched = _may_be_fetched(folder)
    else:
        to_be_fetched = folder.resolve() == fetched.resolve()
    if not to_be_fetched:
        source.check(folder, params.layout)
    elif not source.fetchable:
        raise UserError(
            f"data.source '{params.source}' reads your own images, but data.path '{folder}' has "
            "none: set data.path to the folder with one subfolder for every class."
        )


def check_images(params: DataParams) -> None:
    """Check the user's own images before DVC hashes them, whose errors would not name the file.

    A folder that is missing, or was filled by fetch, is left to `check_source`.

    Raises:
        UserError: the message names the file, the problem and the fix.
    """
    source, folder = SOURCES[params.source], _plain_path(params)
    if not source.fetchable and not _may_be_fetched(folder):
        source.check(folder, params.layout)


def _may_be_fetched(folder: Path) -> bool:
    """Whether the folder does not exist yet, or was filled by fetch."""
    try:
        folder.lstat()
        return (folder / "source.json").is_file()
    except FileNotFoundError:
        return True
    except OSError:  # no permission, or an invalid name: `check` reports it
        return False


def _plain_path(params: DataParams) -> Path:
    """The folder of the data set, unless only a shell would expand its path."""
    path = params.path
    if path.startswith("~") and not os.path.lexists(path):
        whole = os.path.expanduser(path)  # noqa: PTH111 - keeps the ~ of unknown users
        raise UserError(
            f"data.path '{path}': ~ is expanded by shells only, not in params.yaml. "
            f"Write {whole if whole != path else 'the whole path'}."
        )
    if "\0" in path:
        raise UserError("data.path contains a zero byte, which is not allowed in file names.")
    return Path(path)
