from pathlib import Path

import pytest

from core.errors import UserError
from data.check import check_images, check_source
from data.settings import DataParams


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
    with pytest.raises(UserError, match=r"mistyped"):
        check_source(params(source, tmp_path / "mistyped"), fetched=tmp_path / "raw")


def test_a_folder_source_needs_a_folder_of_the_users_own(tmp_path):
    with pytest.raises(UserError, match=r"set data\.path"):
        check_source(params("folder", tmp_path / "raw"), fetched=tmp_path / "raw")
    with pytest.raises(UserError, match=r"set data\.path"):
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
    with pytest.raises(UserError, match=words):
        check_source(params("folder", images(tmp_path, counts)))


@pytest.mark.parametrize("source", ["digits", "folder"])
def test_a_path_that_only_a_shell_understands_is_refused_with_the_one_to_write(source):
    for check in (check_source, check_images):
        with pytest.raises(
            UserError, match=rf"~ is expanded by shells only.*Write {Path.home()}/imgs\."
        ):
            check(params(source, "~/imgs"))


def test_a_folder_that_begins_with_a_tilde_is_a_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    images(tmp_path / "~imgs", {"a": 3, "b": 4})
    check_images(params("folder", "~imgs"))


def test_what_dvc_cannot_hash_is_found_before_it_is_asked(tmp_path):
    (images(tmp_path, {"a": 3, "b": 4}) / "a" / "x.png").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"a/x\.png -> nowhere"):
        check_images(params("folder", tmp_path))


def test_a_folder_that_fetch_may_fill_is_not_looked_at_yet(tmp_path):
    check_images(params("folder", tmp_path / "not there"))
    (images(tmp_path, {"a": 1}) / "source.json").touch()
    check_images(params("folder", tmp_path))


@pytest.mark.parametrize("source", ["digits", "fashion-mnist", "folder"])
def test_a_path_that_cannot_be_one_is_one_message(source, tmp_path):
    for path, words in ((tmp_path / ("n" * 300), "n" * 300), ("a\0b", "zero byte")):
        with pytest.raises((UserError, OSError), match=words):
            check_source(params(source, path), fetched=tmp_path / "raw")
