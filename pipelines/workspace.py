"""The project's state folder `.netwright/`: logs, Prefect's database, the run lock."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from core.errors import UserError
from pipelines.environment import prefect_settings

KEPT_RUNS = 100
"""Largest number of past runs that are kept for Prefect's history."""
LOCK_WAIT_S = 15.0
"""Seconds to wait for the stages of a killed run, which end by themselves."""


class Workspace:
    """Paths of `.netwright/` in one repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".netwright"
        self.logs = self.folder / "logs"
        self.prefect = self.folder / "prefect"
        self._record, self._history = self.folder / "run.json", self.folder / "history"
        self._lock_file = self.folder / "run.lock"

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Hold the repository's lock for one run; yields its file descriptor.

        Children that inherit the descriptor keep the lock, so that a new run waits until the
        stages of a killed run have ended. Raises UserError if another run holds it.
        """
        self.folder.mkdir(exist_ok=True)
        handle = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._acquire(handle)
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            self.close_record(keep=True)  # of a run that was killed
            _held[self.folder] = handle
            yield handle
        finally:
            _held.pop(self.folder, None)
            os.close(handle)

    @contextmanager
    def ensure_lock(self) -> Iterator[int]:
        """As `lock`, but reuses a lock that this process already holds."""
        if self.folder in _held:
            yield _held[self.folder]
            return
        with self.lock() as handle:
            yield handle

    def running_pid(self) -> str | None:
        """PID of the active run in this repository; None if there is none."""
        if not self._lock_file.is_file():
            return None
        handle = os.open(self._lock_file, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_pid(handle)
        finally:
            os.close(handle)
        return None

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write the record of the active run: its times, and state and times of every stage.

        It has `began` and `ended` in seconds since 1970 (None: not yet), `flow_run` (Prefect's ID
        of a run that Prefect records) and `stages`, by name.
        """
        new = self._record.with_suffix(".new")
        new.write_text(json.dumps(record))
        new.replace(self._record)

    def read_states(self) -> dict[str, str] | None:
        """State of every stage of the active run; None before it knows its stages."""
        try:
            content: dict[str, Any] = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None
        return {name: stage["state"] for name, stage in content["stages"].items()}

    def close_record(self, keep: bool) -> None:
        """Move the record of a run to the history of this repository, or remove it."""
        if keep and self._record.is_file():
            self._history.mkdir(exist_ok=True)
            when = datetime.fromtimestamp(self._record.stat().st_mtime, UTC)
            self._record.replace(self._history / f"{when:%Y%m%d-%H%M%S-%f}.json")
            for file in sorted(self._history.glob("*.json"))[:-KEPT_RUNS]:
                file.unlink()
        self._record.unlink(missing_ok=True)

    def past_records(self) -> dict[Path, dict[str, Any]]:
        """The records of past runs that are not in Prefect's history yet, the oldest first."""
        files = sorted(self._history.glob("*.json"))
        return {file: json.loads(file.read_text()) for file in files}

    def _acquire(self, handle: int) -> None:
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = _read_pid(handle)
            alive = holder.isdigit() and psutil.pid_exists(int(holder))
            if alive or time.monotonic() > until:
                left = "" if alive else ", or its remaining stages"
                raise UserError(
                    f"another run is active (process {holder}{left}) in {self.root}. "
                    "Wait for it or stop it, then run again."
                )
            time.sleep(0.1)

    def configure_prefect(self, environment: MutableMapping[str, str], console_level: str) -> None:
        """Set Prefect's settings, but not a server set by the user; call it before its import."""
        self.prefect.mkdir(parents=True, exist_ok=True)
        environment.update(prefect_settings(self.prefect, console_level))


_held: dict[Path, int] = {}
"""Locks that this process holds, by folder."""


def _read_pid(handle: int) -> str:
    return os.pread(handle, 32, 0).decode() or "unknown"
