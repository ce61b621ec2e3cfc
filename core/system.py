"""Operating system: its errors in words, and terminals with a limited character set."""

from __future__ import annotations

import errno
import io
import os
import sys

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "your quota on that disk is used up: free some space",
    errno.EFBIG: "the file is larger than this account or disk allows: see ulimit -f",
    errno.EACCES: "it may not be read or written by this user: change its permissions or owner",
    errno.EPERM: "it may not be changed by this user: change its permissions or owner",
    errno.EROFS: "that disk is read-only: mount it for writing, or work in a copy elsewhere",
    errno.ENAMETOOLONG: "the name is too long for that disk: use a shorter one",
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "a part of the path is a file, where a folder is needed",
    errno.EISDIR: "it is a folder, where a file is needed",
    errno.ELOOP: "its symbolic links form a cycle: remove one of them",
    errno.EMFILE: "too many files are open at once: raise the limit (ulimit -n 4096)",
    errno.ENFILE: "too many files are open on this machine: close other programs",
    errno.ENOMEM: "out of memory: close other programs",
    errno.EIO: "the disk cannot be read or written: it may be defective",
    errno.ESTALE: "the network file handle is stale: mount that disk again",
}


def describe_os_error(error: OSError) -> str:
    """Describe an error by file, reason and remedy; without a known errno, by its own message."""
    files = [
        os.fsdecode(file)
        for file in (error.filename, error.filename2)
        if isinstance(file, str | bytes)
    ]
    # Surrogates stand for bytes that are not UTF-8; terminals reject them.
    shown = " to ".join(files).encode(errors="backslashreplace").decode()
    if not shown and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        shown = os.getcwd()  # noqa: PTH109 - same string as pathlib's
    where = f"{shown}: " if shown else ""
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None:
        return f"{where}{error.strerror or str(error) or type(error).__name__}."
    return f"{where}{remedy}. Finished work is kept; run again afterwards."


def show_any_text() -> None:
    """Escape characters that the terminal's encoding lacks; a label may be in any script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
