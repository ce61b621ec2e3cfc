"""One stage as a child process: DVC decides whether it is stale, runs it, records its outputs."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pipelines import children
from pipelines.environment import stage_environment
from pipelines.graph import Stage
from pipelines.mending import keep_lock, mend_rwlock
from pipelines.outputs import begin, ended
from pipelines.restored import drop_damaged
from pipelines.schedule import Outcome

GRACE_S = 3.0
"""Seconds between asking a stage to stop and killing it."""
RUNNING, RESTORED = "running", "restored"
REPRO = ("dvc", "--wait-for-lock", "repro", "--single-item")
TAIL_LINES = 12
"""Lines shown of a stage that failed without an error message of its own."""


class StageFailedError(ValueError):
    """A stage did not succeed; the message is the stage's own."""


class StageProcesses:
    """The children of one run.

    Args:
        root: the repository.
        logs: folder for one log a stage.
        on_line: called with the stage and every line it prints.
        inherited: file descriptors the children keep open (the run's lock).
    """

    def __init__(
        self,
        root: Path,
        logs: Path,
        on_line: Callable[[Stage, str], None],
        inherited: tuple[int, ...] = (),
    ) -> None:
        self.root, self.logs, self._on_line, self._inherited = root, logs, on_line, inherited
        self._children: dict[str, subprocess.Popen[str]] = {}
        self._guard = threading.Lock()
        self._stopping = False

    def run(self, stage: Stage, force: bool = False) -> Outcome:
        """Bring one stage up to date; its upstreams must be.

        What DVC restores from its cache is hashed: it trusts its cache, whatever became of it. A
        damaged object is dropped, and the stage run.

        Raises:
            StageFailedError: it failed, took longer than its `timeout_s`, or was stopped.
        """
        lines = self._repro(stage, force)
        if RESTORED in _states(lines) and (damaged := drop_damaged(self.root, stage)):
            self._on_line(stage, f"DVC's cache held a damaged {damaged[0]}: dropped, made again.")
            lines = self._repro(stage, force=True)
        keep_lock(self.root)
        return "ran" if RUNNING in _states(lines) else "fresh"

    def stop(self) -> None:
        """Stop every child and start no other; returns when they are gone."""
        with self._guard:
            self._stopping = True
            running = list(self._children.values())
        children.stop(running, GRACE_S)

    def _repro(self, stage: Stage, force: bool) -> list[str]:
        """Let DVC bring one stage up to date; what it and the stage printed."""
        mend_rwlock(self.root)  # a stage beside this one may have been killed past its time
        if stage.persists and not any((self.root / out).exists() for out in stage.outs):
            self._bring_back(stage)
        begin(self.root, stage)
        child = self._start(stage, [*REPRO, *(["--force"] if force else []), stage.name])
        expired = threading.Event()
        timer = None
        if stage.meta.timeout_s is not None:
            timer = threading.Timer(stage.meta.timeout_s, _expire, (child, expired))
            timer.daemon = True
            timer.start()
        try:
            lines = self._follow(stage, child)
            code = child.wait()
        finally:
            if timer is not None:
                timer.cancel()
            with self._guard:
                del self._children[stage.name]
            children.forget(child)
            if child.returncode is not None:
                ended(self.root, stage, done=child.returncode == 0)
        if expired.is_set():
            raise StageFailedError(
                f"stopped after {stage.meta.timeout_s:g} s, its limit (meta.timeout_s in dvc.yaml)."
            )
        if self._stopping:
            raise StageFailedError("stopped before it was done.")
        if code != 0:
            raise StageFailedError(_message(lines, self.logs / f"{stage.name}.log"))
        return lines

    def _bring_back(self, stage: Stage) -> None:
        """Take a stage's missing outputs from DVC's cache, where they are there."""
        child = self._start(stage, ["dvc", "--wait-for-lock", "checkout", "--quiet", stage.name])
        try:
            self._follow(stage, child)
            child.wait()  # a failure says that the cache has them not: the stage makes them
        finally:
            with self._guard:
                del self._children[stage.name]
            children.forget(child)
        drop_damaged(self.root, stage)

    def _start(self, stage: Stage, command: list[str]) -> subprocess.Popen[str]:
        with self._guard:
            if self._stopping:
                raise StageFailedError("not started: the run was stopped.")
            environment = stage_environment(os.environ)
            child = children.start(command, self.root, environment, inherited=self._inherited)
            self._children[stage.name] = child
            return child

    def _follow(self, stage: Stage, child: subprocess.Popen[str]) -> list[str]:
        """Pass every line on and to the log; the first and last ones come back."""
        self.logs.mkdir(parents=True, exist_ok=True)
        head: list[str] = []
        tail: deque[str] = deque(maxlen=200)
        assert child.stdout is not None
        with (self.logs / f"{stage.name}.log").open("w", encoding="utf-8") as log:
            for raw in child.stdout:
                log.write(raw)
                log.flush()
                line = raw.rstrip()
                head.append(line) if len(head) < 50 else tail.append(line)
                self._on_line(stage, line)
        return [*head, *tail]


def _expire(child: subprocess.Popen[str], expired: threading.Event) -> None:
    expired.set()
    children.signal_group(child, signal.SIGKILL)


def _states(lines: list[str]) -> set[str]:
    """What DVC said that it does with a stage."""
    return {
        state
        for state, (begin, part) in {
            RUNNING: ("Running stage ", ""),
            RESTORED: ("Stage ", " is cached - skipping run, checking out outputs"),
        }.items()
        if any(line.startswith(begin) and part in line for line in lines)
    }


def _message(lines: list[str], log: Path) -> str:
    """What a failed stage said: its `error:` lines, else the end of what it printed."""
    starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    said = lines[starts[-1] :] if starts else lines
    # DVC's own closing words only repeat the command.
    said = [line for line in said if line and not line.startswith(("ERROR: failed to ", "> "))]
    if starts:
        return "\n".join([said[0].removeprefix("error: "), *said[1:]])
    if any(line.startswith("Traceback ") for line in said):
        said = said[-1:]
    return "\n".join([*(said or lines)[-TAIL_LINES:], f"All it printed: {log}"])
