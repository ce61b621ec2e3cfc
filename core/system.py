"""Operating system: its errors in words, terminals with a limited character set, CPU cores."""

from __future__ import annotations

import ctypes
import errno
import io
import math
import os
import signal
import sys
from pathlib import Path

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


_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Let the kernel kill this process when the thread that started it ends; no-op except on Linux.

    Not inherited by child processes.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def core_count(root: Path = Path("/")) -> int:
    """Number of CPU cores that this process may use, at least 1.

    `taskset` and containers limit it by an affinity, containers and systemd also by a quota of CPU
    time (cgroups; a quota of 2.5 cores counts as 2).

    Args:
        root: of the file system.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, math.floor(min(cores, _cpu_quota(root))))


def _cpu_quota(root: Path) -> float:
    """Cores' worth of CPU time that the control groups of this process allow; infinite without."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    quota = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = top / path.lstrip("/")
        # A limit of a group holds for those within. A container may see only its own group, at the
        # top, under a path of the host.
        quota = min([quota, *(_quota_of(g) for g in (group, *group.parents) if _within(g, top))])
    return quota


def _within(folder: Path, top: Path) -> bool:
    return folder == top or top in folder.parents


def _quota_of(group: Path) -> float:
    """Cores' worth of CPU time of one group, of version 2 or 1; infinite without a limit."""
    names = [["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]]
    for files in names:
        try:
            words = " ".join((group / name).read_text(encoding="utf-8") for name in files).split()
        except OSError:
            continue
        return math.inf if words[0] in {"max", "-1"} else int(words[0]) / int(words[1])
    return math.inf
