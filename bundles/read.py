"""Read an untrusted archive: everything is checked before anything is written.

The whole archive is read into bounded memory. Nothing is unpickled, and a name from the archive
is used as a path only after it passed all checks.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bundles.archive import BLOCK, pack
from bundles.errors import BundleError
from bundles.manifest import MANIFEST, Manifest, read_manifest

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_CHUNK = 1 << 20
"""Largest number of bytes decompressed by one call."""
_PIECE = 1 << 16
"""Bytes of an archive passed to one call."""


@dataclass(frozen=True)
class Limits:
    """Size limits of a bundle."""

    members: int = 64
    """Number of files in the archive."""
    unpacked_bytes: int = 1 << 30
    """Total bytes after decompression."""
    ratio: int = 100
    """Largest decompression ratio. Bundles are stored, so their ratio is 1; the margin allows a
    specific error message for repacked archives."""


@dataclass(frozen=True)
class Bundle:
    """The content of an archive that passed all checks.

    Attributes:
        manifest: the parsed manifest.
        files: bytes of every file by name, including the manifest.
        size_bytes: size of the archive.
    """

    manifest: Manifest
    files: dict[str, bytes]
    size_bytes: int

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """Write the files to a private temporary folder, for runtimes that read from disk."""
        with TemporaryDirectory(prefix="netwright-") as name:
            folder = Path(name)
            for file, content in self.files.items():
                (folder / file).write_bytes(content)
            yield folder


def read_bundle(path: Path, limits: Limits | None = None) -> Bundle:
    """Read an archive and check its format, file names, manifest and hashes.

    Raises:
        BundleError: a check failed.
    """
    files, size_bytes = read_archive(path, limits or Limits())
    manifest = read_manifest(path, files)
    check_hashes(path, files, manifest)
    return Bundle(manifest, files, size_bytes)


def read_archive(path: Path, limits: Limits) -> tuple[dict[str, bytes], int]:
    """Return the files of an archive by name, and the archive's size in bytes.

    Raises:
        BundleError: the archive is damaged, unsafe, too large, or not byte-identical to the
            output of `bundles.archive.pack`.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such bundle.")
    if path.stat().st_size > limits.unpacked_bytes:  # stored, so never smaller than its content
        raise BundleError(f"{path} is larger than the {limits.unpacked_bytes} bytes allowed.")
    packed = path.read_bytes()
    allowed = min(limits.unpacked_bytes, limits.ratio * len(packed))
    files = dict(_members(path, _unzip(path, packed, allowed), limits.members))
    if pack(files) != packed:
        raise BundleError(
            f"{path} is readable, but its bytes differ from those written by Netwright: it was "
            "damaged or repacked. Use the original bundle."
        )
    return files, len(packed)


def check_hashes(path: Path, files: dict[str, bytes], manifest: Manifest) -> None:
    """Compare the files with the manifest's list.

    Raises:
        BundleError: a file is missing, not listed, or has another hash.
    """
    present, listed = set(files) - {MANIFEST}, set(manifest.files)
    if present != listed:
        missing, unlisted = sorted(listed - present), sorted(present - listed)
        words = [f"missing: {', '.join(missing)}"] if missing else []
        words += [f"not listed in its manifest: {', '.join(unlisted)}"] if unlisted else []
        raise BundleError(f"{path}: its files do not match its manifest ({'; '.join(words)}).")
    for name in sorted(listed):
        if hashlib.sha256(files[name]).hexdigest() != manifest.files[name]:
            raise BundleError(
                f"{path}: '{name}' is not the file that was bundled (its SHA-256 differs from the "
                "manifest's). Use the original bundle."
            )


def _unzip(path: Path, packed: bytes, limit: int) -> bytes:
    """Decompress one gzip member, with at most `limit` bytes of output."""
    stream = zlib.decompressobj(wbits=31)  # 31: a gzip header and trailer are required
    parts: list[bytes] = []
    total = position = 0
    try:
        while position < len(packed) and not stream.eof:
            # In pieces, because every call copies its unread input.
            rest = packed[position : position + _PIECE]
            position += len(rest)
            while rest and not stream.eof:
                part = stream.decompress(rest, _CHUNK)
                rest = stream.unconsumed_tail
                total += len(part)
                if total > limit:
                    raise BundleError(f"{path} unpacks to more than the {limit} bytes allowed.")
                parts.append(part)
    except zlib.error as error:
        raise BundleError(f"{path} is damaged: {error}. Copy the bundle again.") from error
    if not stream.eof:
        raise BundleError(f"{path} is truncated: its gzip data is incomplete. Copy it again.")
    unread = len(stream.unused_data) + len(packed) - position
    if unread:
        raise BundleError(f"{path} has {unread} trailing bytes.")
    return b"".join(parts)


def _members(path: Path, content: bytes, limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield the files of an uncompressed tar, in order; stricter than tarfile."""
    seen: set[str] = set()
    position = 0
    while True:
        header = content[position : position + BLOCK]
        if len(header) < BLOCK:
            raise BundleError(f"{path} is truncated: its tar data has no end.")
        if header == bytes(BLOCK):
            return
        member = _header(path, header)
        position += BLOCK
        _check_member(path, member, seen, len(content) - position)
        seen.add(member.name)
        if len(seen) > limit:
            raise BundleError(f"{path} holds more than the {limit} files allowed.")
        yield member.name, content[position : position + member.size]
        position += -(-member.size // BLOCK) * BLOCK


def _header(path: Path, header: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise BundleError(f"{path} is not a bundle: damaged tar header ({error}).") from error


def _check_member(path: Path, member: tarfile.TarInfo, seen: set[str], left: int) -> None:
    shown = ascii(member.name)
    if member.type != tarfile.REGTYPE:
        kind = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link"}
        found = kind.get(member.type, "not a regular file")
        raise BundleError(f"{path}: member {shown} is {found}; bundles contain regular files only.")
    if not NAME.fullmatch(member.name):
        raise BundleError(
            f"{path}: member name {shown} is not allowed; names have no folders, no '..', and "
            "only letters, digits, '.', '_' and '-'."
        )
    if member.name in seen:
        raise BundleError(f"{path}: member {shown} occurs twice.")
    if not 0 <= member.size <= left:
        raise BundleError(f"{path} is truncated: member {shown} is longer than the remaining data.")
