"""Reading an archive that nobody vouches for: everything is checked before anything is written.

The whole archive is read into bounded memory. Nothing is ever unpickled, and no name from the
archive becomes a path before it has passed every rule here.
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

from stages.bundle.archive import BLOCK, pack
from stages.bundle.errors import BundleError
from stages.bundle.manifest import MANIFEST, Manifest, read_manifest

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_CHUNK = 1 << 20
"""Most bytes unpacked by one call."""
_PIECE = 1 << 16
"""Bytes of an archive handed to one call."""


@dataclass(frozen=True)
class Limits:
    """How large a bundle may be before it is refused unread."""

    members: int = 64
    """Files in the archive."""
    unpacked_bytes: int = 1 << 30
    """Bytes after decompression, all files together."""
    ratio: int = 100
    """Times its own size to which an archive may unpack. Bundles are stored, and do not grow; this
    leaves room to name what is wrong with one that somebody repacked."""


@dataclass(frozen=True)
class Bundle:
    """The content of an archive that passed every check.

    Attributes:
        manifest: what the bundle says of itself.
        files: every file's bytes by name, the manifest's included.
        size_bytes: size of the archive.
    """

    manifest: Manifest
    files: dict[str, bytes]
    size_bytes: int

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """The files in a private temporary folder, for runtimes that read from disk."""
        with TemporaryDirectory(prefix="netwright-") as name:
            folder = Path(name)
            for file, content in self.files.items():
                (folder / file).write_bytes(content)
            yield folder


def read_bundle(path: Path, limits: Limits | None = None) -> Bundle:
    """Read and check an archive: its form, its names, its manifest, and every file's hash.

    Raises:
        BundleError: anything at all is wrong with it.
    """
    files, size_bytes = read_archive(path, limits or Limits())
    manifest = read_manifest(path, files)
    check_hashes(path, files, manifest)
    return Bundle(manifest, files, size_bytes)


def read_archive(path: Path, limits: Limits) -> tuple[dict[str, bytes], int]:
    """The files of an archive by name, and the archive's size in bytes.

    Raises:
        BundleError: the archive is damaged, unsafe, too large, or not in the one form that
            `stages.bundle.archive.pack` gives its content.
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
            f"{path} holds readable files, but its bytes are not those that bundles are written "
            "with: it was damaged or repacked. Take the original."
        )
    return files, len(packed)


def check_hashes(path: Path, files: dict[str, bytes], manifest: Manifest) -> None:
    """Compare the files with the manifest's list.

    Raises:
        BundleError: a file is missing, is not listed, or has another hash.
    """
    present, listed = set(files) - {MANIFEST}, set(manifest.files)
    if present != listed:
        missing, unlisted = sorted(listed - present), sorted(present - listed)
        words = [f"missing: {', '.join(missing)}"] if missing else []
        words += [f"not listed in its manifest: {', '.join(unlisted)}"] if unlisted else []
        raise BundleError(f"{path} has not the files of its manifest ({'; '.join(words)}).")
    for name in sorted(listed):
        if hashlib.sha256(files[name]).hexdigest() != manifest.files[name]:
            raise BundleError(
                f"{path}: '{name}' is not the file that was bundled (its SHA-256 differs from the "
                "manifest's). Take the original bundle."
            )


def _unzip(path: Path, packed: bytes, limit: int) -> bytes:
    """Decompress one gzip member, never holding more than `limit` bytes of output."""
    stream = zlib.decompressobj(wbits=31)  # 31: a gzip header and trailer are required
    parts: list[bytes] = []
    total = position = 0
    try:
        while position < len(packed) and not stream.eof:
            # A piece at a time: every call copies what it leaves unread.
            rest = packed[position : position + _PIECE]
            position += len(rest)
            while rest and not stream.eof:
                part = stream.decompress(rest, _CHUNK)
                rest = stream.unconsumed_tail
                total += len(part)
                if total > limit:
                    raise BundleError(
                        f"{path} unpacks to more than the {limit} bytes allowed; it is no bundle."
                    )
                parts.append(part)
    except zlib.error as error:
        raise BundleError(f"{path} is damaged: {error}. Copy the bundle again.") from error
    if not stream.eof:
        raise BundleError(f"{path} is cut off: its gzip data does not end. Copy it again.")
    unread = len(stream.unused_data) + len(packed) - position
    if unread:
        raise BundleError(f"{path} has {unread} bytes after its end.")
    return b"".join(parts)


def _members(path: Path, content: bytes, limit: int) -> Iterator[tuple[str, bytes]]:
    """Every file of an uncompressed tar, in order; its own parser, because it must be strict."""
    seen: set[str] = set()
    position = 0
    while True:
        header = content[position : position + BLOCK]
        if len(header) < BLOCK:
            raise BundleError(f"{path} is cut off: its tar data has no end.")
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
        raise BundleError(f"{path} is no bundle: damaged tar header ({error}).") from error


def _check_member(path: Path, member: tarfile.TarInfo, seen: set[str], left: int) -> None:
    shown = ascii(member.name)
    if member.type != tarfile.REGTYPE:
        kind = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link"}
        found = kind.get(member.type, "no plain file")
        raise BundleError(f"{path}: member {shown} is {found}; bundles hold plain files only.")
    if not NAME.fullmatch(member.name):
        raise BundleError(
            f"{path}: member name {shown} is not allowed; names have no folders, no '..', and "
            "only letters, digits, '.', '_' and '-'."
        )
    if member.name in seen:
        raise BundleError(f"{path}: member {shown} occurs twice.")
    if not 0 <= member.size <= left:
        raise BundleError(f"{path} is cut off: member {shown} is longer than what is left.")
