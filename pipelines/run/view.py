"""Display of a run: live progress bars on a terminal, otherwise sparse plain lines."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from core.progress import NOTE, Update, parse
from pipelines.graph import Stage
from pipelines.run.schedule import Outcome

PLAIN_INTERVAL_S = 15.0
"""Smallest number of seconds between two plain progress lines of one stage."""
MARKS: dict[Outcome, str] = {
    "ran": "[green]done[/]",
    "fresh": "[cyan]unchanged[/]",
    "failed": "[red]failed[/]",
    "not started": "[yellow]not started[/]",
}


class PlainView:
    """Prints start and end of every stage, and occasional progress lines; if `verbose`, all lines.

    Its methods are called from several threads.
    """

    def __init__(self, console: Console, verbose: bool = False) -> None:
        self._console, self._verbose = console, verbose
        self._printed: dict[str, float] = {}

    def started(self, stage: Stage) -> None:
        """A stage began."""
        self._printed[stage.name] = time.monotonic()
        self._print(f"{stage.name}: started")

    def line(self, stage: Stage, text: str) -> None:
        """A stage printed a line: a note, or progress that is shown every `PLAIN_INTERVAL_S`."""
        if self._verbose or text.startswith(NOTE):
            self._print(f"{stage.name}: {text}")
        elif (update := parse(text)) is not None:
            self._progress(stage, update)

    def ended(self, stage: Stage, outcome: Outcome, seconds: float, message: str) -> None:
        """A stage ended; `message` is the error of a failed one."""
        word = {"ran": "done", "fresh": "unchanged"}.get(outcome, outcome)
        self._print(f"{stage.name}: {word} after {seconds:.1f} s")
        if message:
            self._print(f"{stage.name}: {message}")

    def _progress(self, stage: Stage, update: Update) -> None:
        now = time.monotonic()
        if now - self._printed[stage.name] >= PLAIN_INTERVAL_S:
            self._printed[stage.name] = now
            text = f"{update.step}/{update.steps} {update.values} {_left(update)}"
            self._print(f"{stage.name}: {text.rstrip()}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class LiveView(PlainView):
    """One progress bar per running stage: stage, device, step, loss or accuracy, time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bars = RichProgress(
            TextColumn("[bold]{task.fields[kind]}"),
            TextColumn("{task.fields[device]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._rows: dict[str, TaskID] = {}

    def started(self, stage: Stage) -> None:
        """Add its bar."""
        self._rows[stage.name] = self._bars.add_task(
            stage.name, total=None, kind=stage.kind, device=stage.device or "", values="", left=""
        )

    def ended(self, stage: Stage, outcome: Outcome, seconds: float, message: str) -> None:
        """Replace its bar with a line."""
        self._bars.remove_task(self._rows.pop(stage.name))
        self._console.print(f"{MARKS[outcome]} {escape(stage.name)} [dim]{seconds:.1f} s[/]")
        if message:
            self._console.print(f"[red]{escape(message)}[/]", highlight=False)

    def _progress(self, stage: Stage, update: Update) -> None:
        self._bars.update(
            self._rows[stage.name],
            total=update.steps,
            completed=update.step,
            values=escape(update.values),
            left=_left(update),
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()


def choose_view(console: Console, verbose: bool) -> PlainView:
    """The live view on a terminal; the plain one otherwise, or if `verbose`."""
    return LiveView(console) if console.is_terminal and not verbose else PlainView(console, verbose)


def _left(update: Update) -> str:
    return "" if update.seconds_left is None else f"{update.seconds_left} s left"
