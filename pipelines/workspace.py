"""The project's own folder, `.netwright/`: logs, Prefect's database, the lock of a run."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.environment import prefect_settings

LEFTOVERS_S = 15.0
"""Seconds for which the stages of a run that was killed are waited for; they end with it."""


class BusyError(ValueError):
    """Another run is under way in the same repository."""


class Workspace:
    """Paths of `.netwright/` in one repository.

    Args:
        root: the repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".netwright"
        self.logs = self.folder / "logs"
        self.prefect = self.folder / "prefect"

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Hold the repository for one run; yields the file descriptor that holds it.

        Children that inherit the descriptor keep the lock: a new run never works beside a stage of
        a run that was killed. Such stages end by themselves, and are waited for.

        Raises:
            BusyError: another run holds it.
        """
        self.folder.mkdir(exist_ok=True)
        handle = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._acquire(handle)
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            self.record.unlink(missing_ok=True)
            _held[self.folder] = handle
            yield handle
        finally:
            _held.pop(self.folder, None)
            os.close(handle)

    @contextmanager
    def held(self) -> Iterator[int]:
        """As `lock`, or the lock that this process holds already."""
        if self.folder in _held:
            yield _held[self.folder]
            return
        with self.lock() as handle:
            yield handle

    def runner(self) -> str | None:
        """The number of the process that runs here now; None: no run is under way."""
        if not self._lock_file.is_file():
            return None
        handle = os.open(self._lock_file, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(handle)
        finally:
            os.close(handle)
        return None

    @property
    def record(self) -> Path:
        """What the run under way has done so far, for whoever asks beside it."""
        return self.folder / "run.json"

    def write_states(self, states: Mapping[str, str]) -> None:
        """Say how every stage of the run under way stands."""
        new = self.record.with_suffix(".new")
        new.write_text(json.dumps({"process": os.getpid(), "stages": dict(states)}))
        new.replace(self.record)

    def read_states(self) -> dict[str, str] | None:
        """How every stage of the run under way stands; None before it knows its stages."""
        try:
            content: dict[str, Any] = json.loads(self.record.read_text())
        except FileNotFoundError:
            return None
        return dict(content["stages"])

    def _acquire(self, handle: int) -> None:
        until = time.monotonic() + LEFTOVERS_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = _holder(handle)
            alive = _exists(holder)
            if alive or time.monotonic() > until:
                left = "" if alive else ", or stages that it left behind"
                raise BusyError(
                    f"another run is under way (process {holder}{left}) in {self.root}. "
                    "Wait for it, or end it, then run again."
                )
            time.sleep(0.1)

    @property
    def _lock_file(self) -> Path:
        return self.folder / "run.lock"

    def configure_prefect(self, environment: MutableMapping[str, str], console_level: str) -> None:
        """Set Prefect's settings; call it before Prefect is imported.

        Its files stay in this repository and nothing is sent anywhere. A server that the user
        has set (`PREFECT_API_URL`) is kept.
        """
        self.prefect.mkdir(parents=True, exist_ok=True)
        environment.update(prefect_settings(self.prefect, console_level))


_held: dict[Path, int] = {}
"""Locks that this process holds, by folder."""


def _holder(handle: int) -> str:
    return os.pread(handle, 32, 0).decode() or "unknown"


def _exists(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ValueError, ProcessLookupError):
        return False
    return True
