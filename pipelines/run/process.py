"""Runs one stage as a child process of `dvc repro`."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.cache import drop_damaged
from pipelines.checks.outputs import mark_ended, mark_started
from pipelines.environment import stage_environment
from pipelines.graph import Stage
from pipelines.repair import back_up_lock, repair_rwlock
from pipelines.run import children
from pipelines.run.schedule import Outcome

STAGE_GRACE_S = 3.0
"""Seconds between SIGTERM and SIGKILL of a stage."""
DVC = ("dvc", "--wait-for-lock")
TAIL_LINES = 12
"""Number of output lines shown of a stage that failed without an `error:` line."""


class StageFailedError(ValueError):
    """A stage failed; the message is the stage's error message."""


class StageProcesses:
    """The child processes of one run.

    `on_line` is called with every line that a stage prints; each stage has a log in `logs`; the
    children inherit the file descriptors `inherited` (the run's lock).
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
        if _was_restored(lines) and (damaged := drop_damaged(self.root, stage)):
            self._on_line(stage, f"DVC's cache has a damaged {damaged[0]}: removed, stage reruns.")
            lines = self._repro(stage, force=True)
        back_up_lock(self.root)
        return "ran" if any(line.startswith("Running stage ") for line in lines) else "fresh"

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
        forced = ["--force"] if force else []
        with self._child(stage, [*DVC, "repro", "--single-item", *forced, stage.name]) as child:
            try:
                with _killed_after(child, stage.meta.timeout_s) as expired:
                    lines = self._follow(stage, child)
            finally:
                if child.returncode is not None:
                    mark_ended(self.root, stage, done=child.returncode == 0)
        if expired.is_set():
            raise StageFailedError(
                f"stopped at its timeout of {stage.meta.timeout_s:g} s (see meta in dvc.yaml)."
            )
        if self._stopping:
            raise StageFailedError("stopped before its end.")
        if child.returncode != 0:
            raise StageFailedError(_error_message(lines, self.logs / f"{stage.name}.log"))
        return lines

    def _checkout(self, stage: Stage) -> None:
        """Restore a stage's missing outputs from DVC's cache; it runs if the cache lacks them."""
        with self._child(stage, [*DVC, "checkout", "--quiet", stage.name]) as child:
            self._follow(stage, child)
        drop_damaged(self.root, stage)

    @contextmanager
    def _child(self, stage: Stage, command: list[str]) -> Iterator[subprocess.Popen[str]]:
        with self._guard:
            if self._stopping:
                raise StageFailedError("not started: the run was stopped.")
            environment = stage_environment(os.environ)
            child = children.start(command, self.root, environment, inherited=self._inherited)
            self._children[stage.name] = child
        try:
            yield child
        finally:
            with self._guard:
                del self._children[stage.name]
            children.forget(child)

    def _follow(self, stage: Stage, child: subprocess.Popen[str]) -> list[str]:
        """Pass every line on and write it to the log until the child ends; returns all lines."""
        self.logs.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        assert child.stdout is not None
        with (self.logs / f"{stage.name}.log").open("w", encoding="utf-8") as log:
            for raw in child.stdout:
                log.write(raw)
                log.flush()
                lines.append(raw.rstrip())
                self._on_line(stage, lines[-1])
        child.wait()
        return lines


@contextmanager
def _killed_after(child: subprocess.Popen[str], seconds: float | None) -> Iterator[threading.Event]:
    """Kill a child that the block does not end in time; yields whether that has happened."""
    expired = threading.Event()
    if seconds is None:
        yield expired
        return

    def kill() -> None:
        expired.set()
        children.signal_group(child, signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def _was_restored(lines: list[str]) -> bool:
    """Whether DVC took the outputs from its cache."""
    words = " is cached - skipping run, checking out outputs"
    return any(line.startswith("Stage ") and words in line for line in lines)


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
