"""Download the original data set, or record the user's folder that it is read from."""

from __future__ import annotations

from pathlib import Path

from data.fetched import Fetched, remove_fetched
from data.settings import DataParams
from data.sources import SOURCES
from data.sources.base import Originals


def fetch(data: DataParams, out: Path) -> Fetched:
    """Download the original files, unless they are read from a folder other than `out`.

    Raises:
        UserError: the download failed, or `out` has files of the user in its place.
    """
    remove_fetched(out)
    originals = Originals({}, f"read from {data.path}")
    if Path(data.path).resolve() == out.resolve():
        originals = SOURCES[data.source].fetch()
    print(f"{data.source}: {originals.origin}, {len(originals.files)} files in {out}")
    return Fetched(data.source, originals)
