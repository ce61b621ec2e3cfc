"""Deterministic archives: a `.tar.gz` whose bytes depend only on the files in it.

The gzip layer stores without compression: weights hardly compress, stored bytes do not depend on
the zlib version, and a reader never decompresses. It packs the content again and compares the
bytes, which detects every changed bit, headers and padding included.
Formats: gzip is RFC 1952 around RFC 1951, tar is POSIX.1-1988 (ustar).
"""

from __future__ import annotations

import json
import re
import struct
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from core.artifact import first_problem

Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 1 << 30
"""Size limit of an archive."""
MAX_FILES = 64
MAX_JSON_BYTES = 1 << 24

MALFORMED = (ValueError, TypeError, LookupError, AttributeError)
"""Errors raised by untrusted values of a wrong type or format."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_BLOCK = 512
_RECORD = 20 * _BLOCK
"""A tar file is padded with zeros to a multiple of this."""
_GZIP_HEADER = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff"  # no name, no time, no system
_GZIP_TRAILER = 8
_STORED_HEADER, _STORED_MAX = 5, 0xFFFF


class BundleError(ValueError):
    """A bundle that cannot be trusted or used; the message names the file and the rule."""


@dataclass(frozen=True)
class Archive:
    """An archive in Netwright's format, whose files are not yet checked."""

    path: Path
    files: Mapping[str, bytes]
    size_bytes: int

    def read_json(self, name: str) -> dict[str, Any]:
        """Parse one of the JSON files, which must hold an object.

        Raises:
            BundleError: it is missing, too large, or not a JSON object.
        """
        if name not in self.files:
            raise BundleError(f"{self.path} has no {name}; it is not a Netwright bundle.")
        if len(self.files[name]) > MAX_JSON_BYTES:
            raise BundleError(f"{self.path}: {name} is larger than {MAX_JSON_BYTES} bytes.")
        try:
            content = json.loads(self.files[name], parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{self.path}: {name} is not JSON ({error}).") from error
        if not isinstance(content, dict):
            raise BundleError(f"{self.path}: {name} is not a JSON object.")
        return content

    def read_record(self, name: str, kind: type[Model]) -> Model:
        """Parse one of the JSON files as this type.

        Raises:
            BundleError: it is missing or malformed.
        """
        try:
            return kind.model_validate(self.read_json(name))
        except ValidationError as error:
            raise BundleError(
                f"{self.path}: {name} is malformed {first_problem(error)}."
            ) from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the archive of these files, sorted by name; names are ASCII without folders."""
    members = [_member(name, files[name]) for name in sorted(files)]
    body = b"".join(members) + bytes(2 * _BLOCK)
    return _stored_gzip(body + bytes(-len(body) % _RECORD))


def _member(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)  # mode 0644, owner 0, time 0
    info.size = len(content)
    header = info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    return header + content + bytes(-len(content) % _BLOCK)


def _stored_gzip(content: bytes) -> bytes:
    parts = [_GZIP_HEADER]
    starts = range(0, max(len(content), 1), _STORED_MAX)
    for start in starts:
        piece = content[start : start + _STORED_MAX]
        last = start == starts[-1]
        parts += [struct.pack("<BHH", last, len(piece), len(piece) ^ 0xFFFF), piece]
    parts.append(struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF))
    return b"".join(parts)


def read_archive(path: Path) -> Archive:
    """Read an untrusted archive into memory; nothing is decompressed or written.

    Raises:
        BundleError: it is missing, too large, has a file with an unsafe name, or is not
            byte-identical to the output of `pack`.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such bundle.")
    if path.stat().st_size > MAX_BYTES:
        raise BundleError(f"{path} is larger than the {MAX_BYTES} bytes allowed.")
    packed = path.read_bytes()
    files = _members(path, _content_of_stored(packed))
    # Also refuses what _members lets pass: links, duplicates, trailing bytes.
    if pack(files) != packed:
        raise BundleError(
            f"{path} is not a bundle as Netwright writes it: it was damaged, truncated or "
            "repacked. Copy the original bundle again."
        )
    return Archive(path, files, len(packed))


def _content_of_stored(packed: bytes) -> bytes:
    """Invert `_stored_gzip`, without checks."""
    blocks = packed[len(_GZIP_HEADER) : -_GZIP_TRAILER]
    step = _STORED_HEADER + _STORED_MAX
    return b"".join(
        blocks[start + _STORED_HEADER : start + step] for start in range(0, len(blocks), step)
    )


def _members(path: Path, content: bytes) -> dict[str, bytes]:
    """Return the files of a tar by name; at its first damaged header it ends."""
    files: dict[str, bytes] = {}
    position = 0
    while position < len(content):
        try:
            header = content[position : position + _BLOCK]
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError:  # also of the zeros at the end
            break
        if member.name in files:  # `pack` writes none twice, and counting names must end
            break
        if not _NAME.fullmatch(member.name):
            raise BundleError(
                f"{path}: member name {member.name!a} is not allowed; names have no folders, "
                "no '..', and only letters, digits, '.', '_' and '-'."
            )
        if len(files) == MAX_FILES:
            raise BundleError(f"{path} holds more than the {MAX_FILES} files allowed.")
        start = position + _BLOCK
        size = max(0, member.size)
        files[member.name] = content[start : start + size]
        position = start + -(-size // _BLOCK) * _BLOCK
    return files
