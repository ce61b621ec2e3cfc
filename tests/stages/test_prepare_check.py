import pytest

from data.errors import DataError
from stages.common.data_params import DataParams
from stages.prepare.check import check_source


def params(source, path):
    return DataParams(
        source=source,
        path=str(path),
        size=28,
        val_fraction=0.1,
        test_fraction=0.1,
        max_corrupt=0,
        seed=0,
    )


def images(folder, counts):
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            (folder / name / f"{index}.png").touch()
    return folder


@pytest.mark.parametrize("source", ["digits", "fashion-mnist"])
def test_data_still_to_be_fetched_pass(tmp_path, source):
    check_source(params(source, tmp_path / "raw"), fetched=tmp_path / "raw")
    check_source(params(source, tmp_path / "raw"))


@pytest.mark.parametrize("source", ["digits", "fashion-mnist"])
def test_a_fetched_folder_of_another_source_passes_because_fetch_fills_it_anew(tmp_path, source):
    (tmp_path / "source.json").write_text("{}")
    check_source(params(source, tmp_path))


@pytest.mark.parametrize("source", ["digits", "fashion-mnist", "folder"])
def test_a_folder_that_is_not_there_and_will_not_be_fetched_is_refused(tmp_path, source):
    with pytest.raises(DataError, match=r"mistyped"):
        check_source(params(source, tmp_path / "mistyped"), fetched=tmp_path / "raw")


def test_a_folder_source_needs_a_folder_of_the_users_own(tmp_path):
    with pytest.raises(DataError, match=r"set data\.path"):
        check_source(params("folder", tmp_path / "raw"), fetched=tmp_path / "raw")
    with pytest.raises(DataError, match=r"set data\.path"):
        check_source(params("folder", tmp_path / "raw"))


def test_images_are_counted_but_not_decoded(tmp_path):
    check_source(params("folder", images(tmp_path, {"a": 3, "b": 4})))  # empty files


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "no subfolders"),
        ({"a": 9}, "one class only"),
        ({"a": 9, "b": 2}, "too few images"),
    ],
)
def test_a_folder_that_cannot_be_learnt_from_is_refused(tmp_path, counts, words):
    with pytest.raises(DataError, match=words):
        check_source(params("folder", images(tmp_path, counts)))
