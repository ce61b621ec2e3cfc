"""`netwright params`: every setting with its value, its default and its meaning."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.common import enter_repository

Section = Annotated[
    str | None, typer.Argument(metavar="[SECTION]", help="Only this section or root key.")
]
Changed = Annotated[
    bool, typer.Option("--changed", help="Only settings that differ from their default.")
]
Markdown = Annotated[
    bool, typer.Option("--markdown", help="Print docs/settings.md, without values.")
]


def params(section: Section = None, changed: Changed = False, markdown: Markdown = False) -> None:
    """Show every setting: its value, its default, its unit and meaning."""
    from pipelines.checks.params import read_params
    from pipelines.settings import print_settings, reference, settings_of

    if markdown:
        print(reference(), end="")
        return
    found = settings_of(read_params(enter_repository()), section)
    print_settings(Console(), [setting for setting in found if setting.changed or not changed])
