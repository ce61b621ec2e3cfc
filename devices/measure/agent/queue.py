"""A bounded job queue, run sequentially."""

from __future__ import annotations

import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .jobs import SCHEMA, finish_job, start_job

_KEPT_ANSWERS = 8


class FullError(Exception):
    """The queue is full."""


@dataclass(frozen=True)
class Limits:
    """Limits of the agent."""

    megabytes: int = 256  # of one request
    seconds: float = 600.0  # of one job, and of one upload
    waiting: int = 8  # queued jobs


class Jobs:
    """A bounded job queue, run sequentially, with the latest answers."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root, self.limits = root, limits
        self._waiting: dict[str, dict[str, Any]] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._running: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._dropped = False
        self._change = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def health(self) -> dict[str, Any]:
        """State of the queue."""
        with self._change:
            return {
                "schema": SCHEMA,
                "running": self._running,
                "waiting": len(self._waiting),
                "megabytes": self.limits.megabytes,
            }

    def check_room(self) -> None:
        """Raise a FullError if the queue is full."""
        if len(self._waiting) >= self.limits.waiting:
            raise FullError

    def add(self, job: dict[str, Any]) -> None:
        """Queue a job whose folder is complete.

        Raises:
            FullError: the queue is full.
        """
        with self._change:
            self.check_room()
            self._waiting[job["id"]] = job
            self._change.notify()

    def state(self, identity: str) -> dict[str, Any] | None:
        """State of a job: `waiting`, `running`, or `done` with its answer; None: unknown."""
        with self._change:
            if identity in self._answers:
                return {"state": "done", "answer": self._answers[identity]}
            if identity == self._running:
                return {"state": "running"}
            return {"state": "waiting"} if identity in self._waiting else None

    def cancel(self, identity: str) -> None:
        """Remove a job, and kill it if it runs."""
        with self._change:
            self._answers.pop(identity, None)
            if self._waiting.pop(identity, None) is not None:
                shutil.rmtree(self.root / identity, ignore_errors=True)
            if identity == self._running and self._process is not None:
                self._dropped = True
                self._process.kill()

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting)
                self._running = identity = next(iter(self._waiting))
                job, folder = self._waiting.pop(identity), self.root / identity
                try:
                    self._process = start_job(folder, job)
                except OSError as error:  # a full disk, or no room for a process
                    answer = {"error": f"the agent cannot start it: {error}."}
            if self._process is not None:
                answer = finish_job(folder, self._process, min(job["seconds"], self.limits.seconds))
            shutil.rmtree(folder, ignore_errors=True)
            with self._change:
                if not self._dropped:
                    self._answers[identity] = answer
                while len(self._answers) > _KEPT_ANSWERS:
                    del self._answers[next(iter(self._answers))]
                self._running, self._process, self._dropped = None, None, False
