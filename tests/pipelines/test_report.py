from pathlib import Path

import pytest

from pipelines.graph import read_graph
from pipelines.report import ReportError, number, percent, picture, write_report
from tests.support import Repository


def test_without_a_release_there_is_nothing_to_report_and_the_message_says_what_to_do(
    toy: Repository,
):
    with pytest.raises(ReportError, match=r"no release to report on.*netwright run"):
        write_report(toy.root, read_graph(toy.root))
    assert not list(toy.root.rglob("*.html"))


def test_what_nobody_measured_is_a_dash_and_never_a_zero():
    assert (number(None), number(0.0), number(0.12345, 4)) == ("-", "0.000", "0.1235")
    assert (percent(None), percent(-0.0431)) == ("-", "-4.3%")


def test_a_picture_that_no_stage_drew_is_left_out(tmp_path: Path):
    assert picture(tmp_path / "none.png") is None
    (tmp_path / "one.png").write_bytes(b"\x89PNG")
    assert picture(tmp_path / "one.png") == "data:image/png;base64,iVBORw=="
