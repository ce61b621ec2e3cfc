"""What the commands share: exit codes, and the entry into the repository."""

from __future__ import annotations

from pathlib import Path

DONE, FAILED, WRONG_USE, HELD_BACK = 0, 1, 2, 3


class Failure(Exception):  # noqa: N818 - it carries an exit code, not only an error
    """End the command with a message and an exit code."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message)
        self.code = code


def enter_repository() -> Path:
    """Enter the repository; returns its root, which becomes the working folder."""
    from pipelines.repository import enter

    return enter(Path.cwd())
