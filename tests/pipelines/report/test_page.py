"""The report's page after a run of the whole graph on real digits."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from devices.measure.delivered import ExportResult
from models.search.race.result import RaceRecord
from pipelines.plan import make_plan
from tests.pipelines.report.browser import find_browser, look
from tests.support import Netwright, Repository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_report_is_one_page_with_everything_and_makes_no_stage_stale(
    released: Repository, netwright: Netwright
):
    page = released.root / "artifacts/release/report.html"
    first = page.read_text(encoding="utf-8")
    release = json.loads((released.root / "artifacts/release/release.json").read_text())
    for name, entry in release["devices"].items():
        assert f'<h2 id="{name}">' in first
        assert entry["sha256"] in first
        assert f"{entry['accuracy']['delivered']:.4f}" in first
    for words in ("Equivalence checks", "Predicted and measured", "ahead of random in the band"):
        assert first.count(words) >= 2, words
    assert first.count("data:image/png;base64,") >= 3
    assert not re.search(r"(src|href)=.(https?:|/|\.)", first), "the page is self-contained"
    code, output = netwright(released.root, "report")
    assert (code, output.strip()) == (0, "artifacts/release/report.html")
    assert page.read_text(encoding="utf-8") == first
    assert dict(make_plan(released.root).stale) == {}


class Rows(HTMLParser):
    """The rows of a page's tables, with the class of each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[tuple[str | None, list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append((dict(attrs).get("class"), []))
        elif tag in ("td", "th") and self.rows:
            self.rows[-1][1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rows.append((None, []))  # text after a table is in no cell

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1][1]:
            self.rows[-1][1][-1] += data


def test_the_report_marks_the_delivered_precision_and_shows_intervals(released: Repository):
    page = (released.root / "artifacts/release/report.html").read_text(encoding="utf-8")
    release = json.loads((released.root / "artifacts/release/release.json").read_text())["devices"]
    rows = Rows(page).rows
    chosen = [cells for kind, cells in rows if kind == "chosen"]
    delivered = [cells for cells in chosen if cells[-1].strip() == "delivered"]
    assert [cells[0].strip() for cells in delivered] == [
        entry["precision"] for entry in release.values()
    ]
    assert sum(cells[-1].strip() == "delivered" for _, cells in rows if cells) == len(release)
    latency = release["one"]["latency_ms"]
    low, high = latency["interval"]
    (overview,) = [cells for _, cells in rows if cells and cells[0].strip() == "one" and
                   "passed" in cells[-1]]  # fmt: skip
    assert f"{low:.3f} to {high:.3f}" in [cell.strip() for cell in overview]
    assert "The latency budget is 50.0000 ms." in page
    assert "excludes no network; the largest takes" in page


def test_the_report_has_every_devices_race(released: Repository):
    page = (released.root / "artifacts/release/report.html").read_text(encoding="utf-8")
    record = RaceRecord.read(released.root / "artifacts/race")
    assert record.devices.keys() == {"one", "rtx"}
    rows = Rows(page).rows
    for device in record.devices.values():
        assert device.reason in page
        assert "ahead of random in the band by" in device.statement
        assert device.statement in page
        for network in device.networks:
            nlls = {f"{rung.nll:.4f}" for rung in network.rungs}
            assert any(
                cells[0].strip() == network.short and nlls <= {cell.strip() for cell in cells}
                for _, cells in rows
                if cells
            ), network.short
    won = [cells[0].strip() for kind, cells in rows if kind == "chosen" and "delivered" not in
           cells[-1]]  # fmt: skip
    assert sorted(won) == sorted(device.networks[0].short for device in record.devices.values())


def test_the_report_shows_metrics_mistakes_and_learning_curves(released: Repository):
    page = (released.root / "artifacts/release/report.html").read_text(encoding="utf-8")
    release = json.loads((released.root / "artifacts/release/release.json").read_text())["devices"]
    rows = [cells for _, cells in Rows(page).rows if cells]
    for name, entry in release.items():
        quality = ExportResult.read(released.root / "artifacts/export" / name).quality
        assert entry["quality"] == quality.summary().model_dump(mode="json")
        assert f"balanced accuracy {entry['quality']['balanced_accuracy']:.4f}" in page
        for row in quality.classes:
            counts = [quality.confusion[row.label].get(str(k), 0) for k in range(10)]
            assert [row.label, *(str(count or "") for count in counts)] in [
                [cell.strip() for cell in cells] for cells in rows
            ]
    assert page.count("<h3>Confusion matrix</h3>") == page.count("Reliability</title>") == 2
    assert page.count("<figure>") >= 2
    for title in ("Supernet: loss", "Teacher: accuracy", "Training: loss"):
        assert f"<title>{title}</title>" in page


@pytest.mark.parametrize("width", [1280, 390])  # a desktop's and a phone's
def test_a_browser_shows_the_whole_page_without_scrolling_sideways(
    released: Repository, tmp_path: Path, width: int
):
    browser = find_browser()
    if browser is None:
        pytest.skip("no Chromium on this machine")
    page = (released.root / "artifacts/release/report.html").read_text(encoding="utf-8")
    seen = look(browser, page, width, tmp_path)
    assert seen["needed"] <= seen["width"] <= width
    assert (seen["broken"], seen["images"] >= 3) == (0, True)
    release = json.loads((released.root / "artifacts/release/release.json").read_text())
    assert {*release["devices"]} <= {*seen["headings"]}
    assert seen["tables"] >= 3
    assert seen["charts"]
    assert all(0 < wide <= width and high > 0 for wide, high in seen["charts"])
