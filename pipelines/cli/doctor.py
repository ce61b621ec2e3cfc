"""`netwright doctor`: whether everything in the params can run on this machine."""

from __future__ import annotations

from rich.console import Console

from pipelines.cli.common import FAILED, Failure, enter_repository


def doctor() -> None:
    """Show runtimes, devices, feasibility of each budget, data and resources."""
    from pipelines.show.doctor_table import examine

    if not examine(Console(), enter_repository()):
        raise Failure(FAILED)
