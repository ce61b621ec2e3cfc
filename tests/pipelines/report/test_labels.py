"""The report's part on contradicting labels."""

from pathlib import Path

import numpy as np
import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.files import write_array
from data.clusters.issues import Contradiction, LabelIssues, LabelledImage
from data.dataset import images_file, labels_file
from pipelines.report.labels import SHOWN, contradictions
from pipelines.report.quality import picture
from pipelines.report.report import TEMPLATE

KEPT = LabelledImage(file="cat/<1>.png", label="cat", split="train", index=1)
DROPPED = LabelledImage(file="dog/1.png", label="dog", split=None, index=None)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Arrays of a train split of three images."""
    images_NHWC = np.arange(3 * 8 * 8 * 3).reshape(3, 8, 8, 3).astype(np.uint8)
    write_array(tmp_path / images_file("train"), images_NHWC)
    write_array(tmp_path / labels_file("train"), np.zeros(3, np.int64))
    return tmp_path


def write(data: Path, pairs: int) -> None:
    pair = Contradiction(kind="near", first=KEPT, second=DROPPED)
    LabelIssues(contradictions=(pair,) * pairs).write(data)


def page(data: Path) -> str:
    loader = FileSystemLoader(TEMPLATE.parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    section = environment.get_template("labels.html.jinja").module.labels_section
    return str(section(contradictions(data)))


def test_a_pair_is_shown_with_the_pixels_that_the_network_sees(data: Path):
    write(data, 1)
    pixels_HWC = np.load(data / images_file("train"))[1]
    shown = page(data)
    assert picture(pixels_HWC) in shown
    assert shown.count("<img") == 1
    assert "cat/&lt;1&gt;.png" in shown
    assert "dog (dropped, near)" in shown
    assert "1 pair of images" in " ".join(shown.split())


def test_many_pairs_are_counted_and_the_first_shown(data: Path):
    write(data, SHOWN + 5)
    shown = " ".join(page(data).split())
    assert shown.count("<img") == SHOWN
    assert f"{SHOWN + 5} pairs of images" in shown
    assert f"the first {SHOWN} of them" in shown


def test_without_contradictions_there_is_no_section(data: Path):
    assert contradictions(data) is None
