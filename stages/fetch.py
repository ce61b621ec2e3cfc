"""Download the original data set, or record the user's folder that it is read from."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path

from core.files import (
    FileFormatError,
    read_json,
    sha256_file,
    write_bytes,
    write_json,
)
from core.settings import read_section
from data.errors import DataError
from data.settings import DataParams
from data.sources import SOURCES
from data.sources.base import Originals

SCHEMA = "netwright/source/1"


def fetch(params: DataParams, out: Path) -> Originals:
    """Download the original files, unless they are read from a folder other than `out`.

    Raises:
        DataError: the download failed.
    """
    if Path(params.path).resolve() != out.resolve():
        return Originals({}, f"read from {params.path}")
    return SOURCES[params.source].fetch()


def clear(out: Path) -> None:
    """Remove only the files written by an earlier fetch.

    DVC does not empty this folder, because users put images of their own into it.
    """
    record = out / "source.json"
    if not record.is_file():
        return
    try:
        files = read_json(record, SCHEMA)["files"]
    except FileFormatError as error:
        raise DataError(f"{record} was not written by fetch: move it away.") from error
    record.unlink()
    for name, checksum in files.items():
        file = out / name
        if file.is_file() and sha256_file(file) == checksum:
            file.unlink()


def require_free(out: Path, files: Mapping[str, bytes]) -> None:
    """Check that no file with different content would be overwritten.

    Raises:
        DataError: there is such a file; the message names it.
    """
    for name, content in files.items():
        file = out / name
        if file.exists() and not (file.is_file() and file.read_bytes() == content):
            raise DataError(f"{file} already exists and was not written by fetch: move it away.")


def main() -> None:
    """Parse the flags of `dvc.yaml`, fetch, write."""
    parser = argparse.ArgumentParser(prog="python -m stages fetch", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_section(flags.params, "data", DataParams)
    if flags.out.is_file():
        raise DataError(f"{flags.out} is a file, but fetch writes a folder there. Move it away.")
    clear(flags.out)
    originals = fetch(params, flags.out)
    require_free(flags.out, originals.files)
    for name, content in originals.files.items():
        write_bytes(flags.out / name, content)
    # Written last: a folder with this file is complete.
    write_json(
        flags.out / "source.json",
        SCHEMA,
        {
            "source": params.source,
            "origin": originals.origin,
            "tried": list(originals.tried),
            "files": {
                name: hashlib.sha256(content).hexdigest()
                for name, content in originals.files.items()
            },
        },
    )
    print(f"{params.source}: {originals.origin}, {len(originals.files)} files in {flags.out}")
