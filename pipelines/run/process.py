"""Runs one stage as a child process of `dvc repro`."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pipelines.checks.outputs import mark_ended, mark_started
from pipelines.environment import stage_environment
from pipelines.graph import Stage
from pipelines.repair import back_up_lock, repair_rwlock
from pipelines.run import children
from pipelines.run.integrity import drop_damaged
from pipelines.run.schedule import Outcome

STAGE_GRACE_S = 3.0
"""Seconds between SIGTERM and SIGKILL of a stage."""
RUNNING, RESTORED = "running", "restored"
REPRO = ("dvc", "--wait-for-lock", "repro", "--single-item")
TAIL_LINES = 12
"""Number of output lines shown of a stage that failed without an `error:` line."""


class StageFailedError(ValueError):
    """A stage failed; the message is the stage's error message."""


class StageProcesses:
    """The child processes of one run.

    Args:
        root: the repository.
        logs: folder for one log per stage.
        on_line: called with the stage and every line it prints.
        inherited: file descriptors the children inherit (the run's lock).
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

        Outputs restored from DVC's cache are hashed, because DVC does not check its cache. Damaged
        objects are removed, and the stage runs.

        Raises:
            StageFailedError: it failed, exceeded its `timeout_s`, or was stopped.
        """
        lines = self._repro(stage, force)
        if RESTORED in _dvc_states(lines) and (damaged := drop_damaged(self.root, stage)):
            self._on_line(stage, f"DVC's cache has a damaged {damaged[0]}: removed, stage reruns.")
            lines = self._repro(stage, force=True)
        back_up_lock(self.root)
        return "ran" if RUNNING in _dvc_states(lines) else "fresh"

    def stop(self) -> None:
        """Stop all children and start no new ones; returns when they have ended."""
        with self._guard:
            self._stopping = True
            running = list(self._children.values())
        children.stop(running, STAGE_GRACE_S)

    def _repro(self, stage: Stage, force: bool) -> list[str]:
        """Run `dvc repro` on one stage; returns all output lines."""
        repair_rwlock(self.root)  # a parallel stage may have been killed at its timeout
        if stage.persists and not any((self.root / out).exists() for out in stage.outs):
            self._checkout(stage)
        mark_started(self.root, stage)
        child = self._start(stage, [*REPRO, *(["--force"] if force else []), stage.name])
        expired = threading.Event()
        timer = None
        if stage.meta.timeout_s is not None:
            timer = threading.Timer(stage.meta.timeout_s, _kill_on_timeout, (child, expired))
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
                mark_ended(self.root, stage, done=child.returncode == 0)
        if expired.is_set():
            raise StageFailedError(
                f"stopped at its timeout of {stage.meta.timeout_s:g} s (see meta in dvc.yaml)."
            )
        if self._stopping:
            raise StageFailedError("stopped before its end.")
        if code != 0:
            raise StageFailedError(_error_message(lines, self.logs / f"{stage.name}.log"))
        return lines

    def _checkout(self, stage: Stage) -> None:
        """Restore a stage's missing outputs from DVC's cache, if it has them."""
        child = self._start(stage, ["dvc", "--wait-for-lock", "checkout", "--quiet", stage.name])
        try:
            self._follow(stage, child)
            child.wait()  # fails if the cache lacks them: the stage then runs
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
        """Pass every line on and write it to the log; returns the first and last lines."""
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


def _kill_on_timeout(child: subprocess.Popen[str], expired: threading.Event) -> None:
    expired.set()
    children.signal_group(child, signal.SIGKILL)


def _dvc_states(lines: list[str]) -> set[str]:
    """The actions that DVC reported for a stage."""
    return {
        state
        for state, (prefix, part) in {
            RUNNING: ("Running stage ", ""),
            RESTORED: ("Stage ", " is cached - skipping run, checking out outputs"),
        }.items()
        if any(line.startswith(prefix) and part in line for line in lines)
    }


def _error_message(lines: list[str], log: Path) -> str:
    """Error message of a failed stage: its `error:` lines, else the end of its output."""
    starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    shown = lines[starts[-1] :] if starts else lines
    # DVC's last lines only repeat the command.
    shown = [line for line in shown if line and not line.startswith(("ERROR: failed to ", "> "))]
    if starts:
        return "\n".join([shown[0].removeprefix("error: "), *shown[1:]])
    if any(line.startswith("Traceback ") for line in shown):
        shown = shown[-1:]
    return "\n".join([*(shown or lines)[-TAIL_LINES:], f"Log: {log}"])
