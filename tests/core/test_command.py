"""No params value reaches a shell: a stage substitutes it in its command itself."""

from pathlib import Path

import pytest

from core.command import fill_in
from core.settings import ParamsError

WORDS = ["--params", "params.yaml", "--source=@data.path", "--out", "out/@device"]


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "params.yaml"
    file.write_text("data: {path: '-x;y $(z) \"q\"'}\nfleet: {share: true}\n")
    return file


def test_a_value_is_put_in_as_it_is(params: Path):
    filled = fill_in(WORDS, "train@phone")
    assert filled[2:] == ['--source=-x;y $(z) "q"', "--out", "out/phone"]


def test_a_truth_value_is_written_as_dvc_writes_it(params: Path):
    words = [*WORDS[:2], "share-@fleet.share/x.json"]
    assert fill_in(words, "train@phone")[-1] == "share-true/x.json"


def test_words_without_places_are_left_alone_and_need_no_params():
    words = ["--space", "me@home/space.yaml"]
    assert fill_in(words, None) == words


@pytest.mark.parametrize("name", ["../../x", "a/b", "a\nb", ".x", "-x", ""])
def test_a_device_whose_name_is_no_folder_is_refused(name: str, params: Path):
    with pytest.raises(ParamsError, match="device"):
        fill_in(WORDS, f"train@{name}")


def test_by_hand_a_device_has_to_be_named(params: Path):
    with pytest.raises(ParamsError, match="write the device's name"):
        fill_in(WORDS, None)


def test_a_value_that_is_no_text_is_refused(params: Path):
    params.write_text("data: {path: 7}\n")
    with pytest.raises(ParamsError, match=r"data\.path must be a string \(got 7\)"):
        fill_in(WORDS, "train@phone")
