"""Progress of one stage: a bar on a terminal, sparse plain lines otherwise.

`netwright run` parses the plain line for its live view, so its format is fixed:
`progress 120/420 loss=0.532 images/s=1010 left=32s`.
"""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

NOTE = "note: "
"""Prefix of lines that `netwright run` shows unchanged."""

LINE = re.compile(r"progress (\d+)/(\d+)(?: (.*?))? left=(\d+|\?)s$")


@dataclass(frozen=True)
class Update:
    """One parsed progress line."""

    step: int
    steps: int
    values: str
    seconds_left: int | None


def parse(line: str) -> Update | None:
    """Parse a plain progress line; None for any other line."""
    match = LINE.search(line.strip())
    if match is None:
        return None
    step, steps, values, left = match.groups()
    return Update(int(step), int(steps), values or "", None if left == "?" else int(left))


def note_line(text: str) -> str:
    """Format a line that is shown to the user during a run."""
    return NOTE + " ".join(text.split())


class Progress:
    """Report the steps of a loop: `with Progress("supernet", steps) as progress: ...`.

    A resumed run has done `start` steps; two plain lines are at least `interval` seconds apart.
    """

    def __init__(self, title: str, steps: int, start: int = 0, interval: float = 2.0) -> None:
        self.title, self.steps, self.start, self.interval = title, steps, start, interval
        self._began = self._printed = time.monotonic()
        self._rich: RichProgress | None = None
        if sys.stdout.isatty():
            self._rich = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[values]}"),
                TimeRemainingColumn(),
            )
            self._task = self._rich.add_task(title, total=steps, completed=start, values="")

    def update(self, step: int, values: Mapping[str, float] | None = None) -> None:
        """Report `step` finished steps, with `values` (loss, accuracy, ...)."""
        text = " ".join(f"{name}={value:.4g}" for name, value in (values or {}).items())
        if self._rich is not None:
            self._rich.update(self._task, completed=step, values=text)
            return
        now = time.monotonic()
        if now - self._printed < self.interval and step != self.steps:
            return
        self._printed = now
        done = step - self.start
        left = f"{(now - self._began) / done * (self.steps - step):.0f}" if done > 0 else "?"
        print(f"progress {step}/{self.steps} {text + ' ' if text else ''}left={left}s", flush=True)

    def __enter__(self) -> Self:
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._rich is not None:
            self._rich.stop()


def count_steps(progress: Progress) -> Callable[[str], None]:
    """Return a callback that advances by one step per call; it ignores its argument."""
    steps = itertools.count(progress.start + 1)
    return lambda _: progress.update(next(steps))
