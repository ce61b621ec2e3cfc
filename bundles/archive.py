"""Deterministic archives: a `.tar.gz` whose bytes depend only on the files in it.

The gzip layer stores without compression. Weights hardly compress, and stored bytes do not depend
on the zlib version. A reader can rebuild the archive from its content and compare the bytes, which
detects any changed bit, headers and padding included.
Formats: gzip is RFC 1952 around RFC 1951, tar is POSIX.1-1988 (ustar).
"""

from __future__ import annotations

import struct
import tarfile
import zlib
from collections.abc import Mapping

BLOCK = 512
RECORD = 20 * BLOCK
"""A tar file is padded with zeros to a multiple of this."""

_GZIP_HEADER = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff"  # no name, no time, no system
_STORED_MAX = 0xFFFF


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the archive of these files: sorted by name, owner 0, modification time 0.

    Args:
        files: content by name; names are plain ASCII without folders, at most 100 characters.
    """
    members = [_member(name, files[name]) for name in sorted(files)]
    body = b"".join(members) + bytes(2 * BLOCK)
    return _stored_gzip(body + bytes(-len(body) % RECORD))


def _member(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)  # mode 0644, owner 0, time 0
    info.size = len(content)
    header = info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    return header + content + bytes(-len(content) % BLOCK)


def _stored_gzip(content: bytes) -> bytes:
    parts = [_GZIP_HEADER]
    starts = range(0, max(len(content), 1), _STORED_MAX)
    for start in starts:
        piece = content[start : start + _STORED_MAX]
        last = start == starts[-1]
        parts += [struct.pack("<BHH", last, len(piece), len(piece) ^ 0xFFFF), piece]
    parts.append(struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF))
    return b"".join(parts)
