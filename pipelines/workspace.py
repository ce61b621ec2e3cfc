"""The project's own folder, `.netwright/`: logs, Prefect's database, the lock of a run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path


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

        Children that inherit the descriptor keep the lock: the stages of a run that was killed
        hold it until they end, so a new run never works beside them.

        Raises:
            BusyError: another run holds it.
        """
        self.folder.mkdir(exist_ok=True)
        handle = os.open(self.folder / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(handle, 32).decode() or "unknown"
                raise BusyError(
                    f"another run is under way in {self.root} (process {holder}, or stages that "
                    "it left behind). Wait for it, or end it, then run again."
                ) from None
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            yield handle
        finally:
            os.close(handle)

    def configure_prefect(self, environment: MutableMapping[str, str], console_level: str) -> None:
        """Set Prefect's settings; call it before Prefect is imported.

        Its files stay in this repository and nothing is sent anywhere. A server that the user
        has set (`PREFECT_API_URL`) is kept.
        """
        self.prefect.mkdir(parents=True, exist_ok=True)
        environment.update(
            PREFECT_HOME=str(self.prefect),
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            DO_NOT_TRACK="1",
            PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL=console_level,
            PREFECT_SERVER_LOGGING_LEVEL="CRITICAL",
            PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
        )
