"""Get the data set's originals, or note that they are read from the user's folder."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path

from data.errors import DataError
from data.sources import SOURCES
from data.sources.base import Originals
from stages.common.data_params import DataParams
from stages.common.files import (
    FileFormatError,
    read_json,
    sha256_file,
    write_bytes,
    write_json,
)
from stages.common.params import read_section

SCHEMA = "netwright/source/1"


def fetch(params: DataParams, out: Path) -> Originals:
    """Get the originals, unless they are read from a folder other than `out`.

    Raises:
        DataError: they cannot be got.
    """
    if Path(params.path).resolve() != out.resolve():
        return Originals({}, f"read from {params.path}")
    return SOURCES[params.source].fetch()


def clear(out: Path) -> None:
    """Remove what an earlier fetch wrote, and nothing else.

    DVC does not empty this folder: people put images of their own into it.
    """
    record = out / "source.json"
    if not record.is_file():
        return
    try:
        files = read_json(record, SCHEMA)["files"]
    except FileFormatError as error:
        raise DataError(f"{record} is not of a fetch: move it away.") from error
    record.unlink()
    for name, checksum in files.items():
        file = out / name
        if file.is_file() and sha256_file(file) == checksum:
            file.unlink()


def require_free(out: Path, files: Mapping[str, bytes]) -> None:
    """Refuse to write over files that have another content.

    Raises:
        DataError: one is in the way; the message names it.
    """
    for name, content in files.items():
        file = out / name
        if file.exists() and not (file.is_file() and file.read_bytes() == content):
            raise DataError(f"{file} is in the way, and no fetch wrote it: move it away.")


def main() -> None:
    """Parse the flags of `dvc.yaml`, fetch, write."""
    parser = argparse.ArgumentParser(prog="python -m stages.fetch", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_section(flags.params, "data", DataParams)
    if flags.out.is_file():
        raise DataError(f"{flags.out} is a file; fetch writes a folder of this name. Move it away.")
    clear(flags.out)
    originals = fetch(params, flags.out)
    require_free(flags.out, originals.files)
    for name, content in originals.files.items():
        write_bytes(flags.out / name, content)
    # Last: a folder with this file in it is complete.
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
