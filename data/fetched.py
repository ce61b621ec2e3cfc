"""The fetch stage's output: original files, and the record of what it wrote."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from core.artifact import Artifact
from core.errors import UserError
from core.files import FileFormatError, sha256_file, write_bytes
from data.sources.base import Originals


class SourceRecord(Artifact):
    """Content of `source.json`; a folder with it is complete."""

    SCHEMA: ClassVar[str] = "netwright/source/1"
    FILE: ClassVar[str] = "source.json"

    source: str
    """Name of the data source."""
    origin: str
    """Where the files are from."""
    tried: tuple[str, ...]
    """Addresses that failed before."""
    files: dict[str, str]
    """SHA-256 of every file, by name."""


@dataclass(frozen=True)
class Fetched:
    """Original files of a data source."""

    source: str
    originals: Originals

    def write(self, out: Path) -> None:
        """Write the files, then their record.

        Raises:
            UserError: a file with different content would be overwritten; the message names it.
        """
        files = self.originals.files
        for name, content in files.items():
            file = out / name
            if file.exists() and not (file.is_file() and file.read_bytes() == content):
                raise UserError(
                    f"{file} already exists and was not written by fetch: move it away."
                )
        for name, content in files.items():
            write_bytes(out / name, content)
        SourceRecord(
            source=self.source,
            origin=self.originals.origin,
            tried=self.originals.tried,
            files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        ).write(out)


def remove_fetched(out: Path) -> None:
    """Remove only the files written by an earlier fetch.

    DVC does not empty this folder, because users put images of their own into it.

    Raises:
        UserError: `out` is a file, or has a record that fetch did not write.
    """
    if out.is_file():
        raise UserError(f"{out} is a file, but fetch writes a folder there. Move it away.")
    record = out / SourceRecord.FILE
    if not record.is_file():
        return
    try:
        files = SourceRecord.read(record).files
    except FileFormatError as error:
        raise UserError(f"{record} was not written by fetch: move it away.") from error
    record.unlink()
    for name, checksum in files.items():
        file = out / name
        if file.is_file() and sha256_file(file) == checksum:
            file.unlink()
