"""Which lines of a stage the user sees while it runs."""

import io

import pytest
from rich.console import Console

from core.progress import note_line
from pipelines.graph import Stage, StageMeta
from pipelines.run.view import LiveView, PlainView

STAGE = Stage("prepare", "", (), (), (), frozenset(), StageMeta())


@pytest.mark.parametrize("view", [PlainView, LiveView])
def test_notes_are_shown_and_other_lines_are_not(view):
    out = io.StringIO()
    with view(Console(file=out, width=200)) as shown:
        shown.started(STAGE)
        shown.line(STAGE, "loading [bold]things[/bold]")
        shown.line(STAGE, note_line("12-bit images\n are read as [12] bits."))
        shown.ended(STAGE, "ran", 1.0, "")
    assert "prepare: note: 12-bit images are read as [12] bits." in out.getvalue()
    assert "things" not in out.getvalue()
