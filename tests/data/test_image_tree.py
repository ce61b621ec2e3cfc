"""Accepted and rejected folders of images."""

import os
import tempfile
import unicodedata
from pathlib import Path

import pytest

from core.errors import UserError
from data.image_tree import read_tree
from data.image_walk import escape_name


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def classes(folder, *, of=("alpha", "beta"), count=3):
    for name in of:
        touch(folder, *[f"{name}/{index}.png" for index in range(count)])
    return folder


def found(tree):
    return {(c.split, c.name): len(c.files) for c in tree.classes}


# Metadata of operating systems.


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("__MACOSX/alpha/._0.png", "__MACOSX (1)"),
        ("alpha/._0.png", "._* (1)"),
        ("alpha/.DS_Store", ".DS_Store (1)"),
        ("beta/THUMBS.DB", "THUMBS.DB (1)"),
        ("Desktop.ini", "Desktop.ini (1)"),
        ("alpha/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "@eaDir (1)"),
        (".AppleDouble/x", ".AppleDouble (1)"),
        ("$RECYCLE.BIN/S-1-5/0.png", "$RECYCLE.BIN (1)"),
        ("System Volume Information/x", "System Volume Information (1)"),
        ("alpha/.ipynb_checkpoints/0-checkpoint.png", ".ipynb_checkpoints (1)"),
        ("lost+found/x", "lost+found (1)"),
    ],
)
def test_what_systems_leave_behind_is_skipped_and_counted(tmp_path, name, said):
    touch(classes(tmp_path), name)
    tree = read_tree(tmp_path)
    assert found(tree) == {(None, "alpha"): 3, (None, "beta"): 3}
    assert sum(tree.skipped.values()) == 1
    assert said in tree.notes[0]


def test_an_ordinary_folder_needs_no_words(tmp_path):
    assert read_tree(classes(tmp_path)).notes == ()


def test_files_beside_the_class_folders_are_counted(tmp_path):
    touch(classes(tmp_path), "README.txt", "labels.csv")
    assert read_tree(tmp_path).notes == ("ignored outside the class folders: 2 files.",)


# Predefined splits.


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_folders_called_like_splits_are_used_as_splits(tmp_path, val):
    for name, count in (("train", 5), (val, 2), ("test", 1)):
        classes(tmp_path / name, count=count)
    tree = read_tree(tmp_path)
    assert tree.given == ("train", "val", "test")
    assert tree.names == ("alpha", "beta")
    assert [c.split for c in tree.classes] == ["train", "train", "val", "val", "test", "test"]
    assert [len(c.files) for c in tree.classes] == [5, 5, 2, 2, 1, 1]
    assert tree.classes[0].files[0] == "train/alpha/0.png"
    assert "own splits are used" in tree.notes[0]


def test_a_missing_split_is_said_to_be_drawn(tmp_path):
    for name in ("train", "test"):
        classes(tmp_path / name)
    assert "val drawn from train" in read_tree(tmp_path).notes[0]


@pytest.mark.parametrize("empty", [True, False])
def test_a_class_that_is_missing_in_one_split_is_named(tmp_path, empty):
    classes(tmp_path / "train", of=("alpha", "beta", "gamma"))
    classes(tmp_path / "test")
    if empty:
        (tmp_path / "test" / "gamma").mkdir()
    with pytest.raises(UserError, match="none of 'gamma' in test"):
        read_tree(tmp_path)


def test_a_class_that_is_in_the_test_split_alone_is_named(tmp_path):
    classes(tmp_path / "train")
    classes(tmp_path / "test", of=("alpha", "beta", "gamma"))
    with pytest.raises(UserError, match="none of 'gamma' in train"):
        read_tree(tmp_path)


def test_classes_called_train_and_test_beside_others_stay_classes(tmp_path):
    tree = read_tree(classes(tmp_path, of=("bus", "test", "train")))
    assert tree.given == ()
    assert tree.names == ("bus", "test", "train")
    assert "test, train are classes, not splits" in tree.notes[0]


def test_a_class_called_train_alone_needs_no_words(tmp_path):
    tree = read_tree(classes(tmp_path, of=("bus", "train")))
    assert (tree.given, tree.names, tree.notes) == ((), ("bus", "train"), ())


def test_splits_without_class_folders_are_refused(tmp_path):
    classes(tmp_path, of=("train", "test"))
    with pytest.raises(UserError, match=r"hold no class folders.*if these are classes, rename"):
        read_tree(tmp_path)


def test_one_split_without_class_folders_is_named(tmp_path):
    classes(tmp_path / "train")
    touch(tmp_path, "test/0.png", "test/1.png")
    with pytest.raises(UserError, match="no class folders in test"):
        read_tree(tmp_path)


def test_a_folder_beside_splits_is_named(tmp_path):
    for name in ("train", "test"):
        classes(tmp_path / name)
    touch(tmp_path, "sample/0.png")
    with pytest.raises(UserError, match="look like splits, but sample does not"):
        read_tree(tmp_path)


def test_two_names_of_one_split_and_no_train_are_refused(tmp_path):
    for name in ("val", "valid", "test"):
        classes(tmp_path / name)
    with pytest.raises(UserError, match="val, valid are the same split"):
        read_tree(tmp_path)
    (tmp_path / "valid").rename(tmp_path / ".valid")
    with pytest.raises(UserError, match="none called train"):
        read_tree(tmp_path)


# Entries that DVC cannot hash or track.


def refused(folder, *words):
    with pytest.raises(UserError) as caught:
        read_tree(folder)
    for word in words:
        assert word in str(caught.value)


def test_a_link_to_a_folder_is_refused_as_a_class_and_inside_of_one(tmp_path):
    outside = classes(tmp_path / "outside", of=("gamma", "more"))
    images = classes(tmp_path / "images")
    (images / "gamma").symlink_to(outside / "gamma")
    refused(images, "links to folders", f"gamma -> {outside / 'gamma'}", "cp -rL")
    (images / "gamma").unlink()
    (images / "alpha" / "more").symlink_to(outside / "more")
    refused(images, f"alpha/more -> {outside / 'more'}")


def test_links_in_circles_end(tmp_path):
    images = classes(tmp_path)
    (images / "alpha" / "up").symlink_to("..")
    refused(images, "links to folders", "alpha/up -> ..")
    (images / "alpha" / "up").unlink()
    (images / "alpha" / "me").symlink_to("me")
    refused(images, "dangling links", "alpha/me -> me")


def test_a_link_to_nothing_is_named_with_where_it_leads(tmp_path):
    (classes(tmp_path) / "alpha" / "x.png").symlink_to("/nonexistent/x.png")
    refused(tmp_path, "dangling links: alpha/x.png -> /nonexistent/x.png", "Remove them")


def test_links_to_files_and_to_the_folder_itself_are_followed(tmp_path):
    touch(tmp_path, "outside.png")
    images = classes(tmp_path / "images")
    (images / "alpha" / "9.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "link").symlink_to("images")
    assert found(read_tree(tmp_path / "link"))[None, "alpha"] == 4


def test_a_name_that_is_not_utf8_is_refused_escaped(tmp_path):
    classes(tmp_path)
    (tmp_path / "alpha").rename(tmp_path / os.fsdecode(b"caf\xe9"))
    refused(tmp_path, "not UTF-8", r"caf\xe9.", "convmv")


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(classes(tmp_path) / "alpha" / "pipe.png")
    refused(tmp_path, "neither files nor folders: alpha/pipe.png")


def test_a_dvcignore_inside_is_refused(tmp_path):
    touch(classes(tmp_path), "alpha/.dvcignore")
    refused(tmp_path, "DVC refuses", "alpha/.dvcignore")


def test_all_that_is_wrong_is_listed_together(tmp_path):
    classes(tmp_path)
    (tmp_path / "alpha" / "x.png").symlink_to("nowhere")
    (tmp_path / "beta" / "y").symlink_to(".")
    refused(tmp_path, "alpha/x.png -> nowhere", "beta/y -> .")


def test_files_and_folders_that_may_not_be_read_are_named():
    with tempfile.TemporaryDirectory() as name:  # accessible to other users, unlike pytest's
        folder = classes(Path(name))
        folder.chmod(0o755)
        (folder / "alpha" / "0.png").chmod(0)
        (folder / "beta").chmod(0)
        root = os.geteuid() == 0  # root can read everything
        if root:
            os.seteuid(65534)
        try:
            refused(folder, "cannot read", "alpha/0.png", "beta (Permission denied)", "chmod")
        finally:
            if root:
                os.seteuid(0)
            (folder / "beta").chmod(0o755)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.touch(), "is a file, not a folder"),
        (lambda path: path.symlink_to("nowhere"), "is a dangling link"),
    ],
)
def test_what_is_no_folder_is_refused(tmp_path, make, words):
    make(tmp_path / "images")
    refused(tmp_path / "images", words, "data.path must name the folder")


def test_a_path_that_is_too_long_is_refused(tmp_path):
    refused(tmp_path / ("n" * 300), "cannot be read (File name too long)")


# Names.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cat", "cat"),
        ("cat ", "cat"),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")),
    ],
)
def test_classes_that_look_alike_are_said(tmp_path, one, other):
    tree = read_tree(classes(tmp_path, of=(one, other, "dog")))
    assert len(tree.names) == 3
    assert ascii(one) in tree.notes[0]
    assert ascii(other) in tree.notes[0]
    assert "dog" not in tree.notes[0]


def test_names_with_control_characters_are_escaped_in_messages():
    assert escape_name("a\nb\x1b[31m") == r"a\nb\x1b[31m"
    assert escape_name("café 日本 🐈") == "café 日本 🐈"
