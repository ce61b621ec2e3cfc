from pathlib import Path

import pytest

from pipelines.graph import read_graph
from pipelines.report.report import ReportError, data_uri, number, percent, write_report
from tests.support import Repository


def test_without_a_release_the_error_has_the_fix(toy: Repository):
    with pytest.raises(ReportError, match=r"no release to report on.*netwright run"):
        write_report(toy.root, read_graph(toy.root))
    assert not list(toy.root.rglob("*.html"))


def test_an_unmeasured_value_is_a_dash_and_never_a_zero():
    assert (number(None), number(0.0), number(0.12345, 4)) == ("-", "0.000", "0.1235")
    assert (percent(None), percent(-0.0431)) == ("-", "-4.3%")


def test_a_picture_that_no_stage_drew_is_left_out(tmp_path: Path):
    assert data_uri(tmp_path / "none.png") is None
    (tmp_path / "one.png").write_bytes(b"\x89PNG")
    assert data_uri(tmp_path / "one.png") == "data:image/png;base64,iVBORw=="
