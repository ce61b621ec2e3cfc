"""What the commands share: exit codes, options, and the entry into the repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

DONE, FAILED, WRONG_USE, HELD_BACK = 0, 1, 2, 3

Jobs = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="Parallel stages. Default: CPU cores / threads."),
]
BundleFile = Annotated[Path, typer.Argument(metavar="BUNDLE", exists=True, dir_okay=False)]


class Failure(Exception):  # noqa: N818 - it carries an exit code, not only an error
    """End the command with a message and an exit code."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message)
        self.code = code


def enter_repository() -> Path:
    """Enter the repository; returns its root, which becomes the working folder."""
    from pipelines.repository import enter

    return enter(Path.cwd())


def default_jobs(root: Path) -> int:
    """The number of stages whose threads fit the CPU cores; at least one."""
    from pipelines.checks.roots import read_roots

    return max(1, (os.cpu_count() or 1) // read_roots(root).threads)
