"""Child processes that never outlive this one.

Each is started in its own session, so that only this process receives a terminal's Ctrl-C, and
through `watchdog.py`, which ends it when this process is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WATCHDOG = Path(__file__).with_name("watchdog.py")

_alive: set[subprocess.Popen[str]] = set()
_lock = threading.Lock()


def start(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    output: Any = subprocess.PIPE,
    inherited: tuple[int, ...] = (),
) -> subprocess.Popen[str]:
    """Start a Python module with arguments as a guarded child.

    Its folder is also the first entry of its `sys.path`; `output` receives stdout and stderr; the
    `inherited` file descriptors stay open in it.
    """
    child = subprocess.Popen(
        [sys.executable, "-P", str(WATCHDOG), *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        pass_fds=inherited,
    )
    with _lock:
        _alive.add(child)
    return child


def forget(child: subprocess.Popen[str]) -> None:
    """Close the pipes of a child that has ended."""
    with _lock:
        _alive.discard(child)
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def stop(children: Sequence[subprocess.Popen[str]], grace_s: float) -> None:
    """Stop children and their descendants: SIGTERM, and SIGKILL after `grace_s` seconds."""
    for child in children:
        signal_group(child, signal.SIGTERM)
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace_s)
        # The shell may end before the processes it started.
        signal_group(child, signal.SIGKILL)
        child.wait()


def kill_all() -> None:
    """Kill all descendants of this process."""
    import psutil

    for child in list(_alive):
        signal_group(child, signal.SIGKILL)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(psutil.Process().children(), timeout=2)


def signal_group(child: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a child's process group, if it still exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
