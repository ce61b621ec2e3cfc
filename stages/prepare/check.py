"""A quick look at the data's source before anything starts."""

from __future__ import annotations

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
    if fetched is None:
        to_be_fetched = not folder.exists() or (folder / "source.json").is_file()
    else:
        to_be_fetched = folder.resolve() == fetched.resolve()
    if not to_be_fetched:
        source.check(folder)
    elif not source.fetchable:
        raise DataError(
            f"data.source '{params.source}' reads your own images, and data.path is '{folder}', "
            "which holds none: set data.path to the folder with one subfolder for every class."
        )
