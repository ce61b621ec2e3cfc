import gzip
import hashlib
import struct

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from data.mirrors import Place, debian_place, folder_place
from data.sources import SOURCES
from data.sources.base import LoadOptions
from data.sources.digits import Digits
from data.sources.fashion_mnist import (
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    FashionMnist,
)
from data.sources.folder import ImageFolder

OPTIONS = LoadOptions(size=28, fit="crop", max_corrupt=0)


def no_progress(done, of):
    assert 0 < done <= of


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_the_table_knows_every_source_by_its_name():
    assert set(SOURCES) == {"fashion-mnist", "digits", "folder", "list", "parquet", "webdataset"}
    assert all(source.name == name for name, source in SOURCES.items())


# Digits.


def test_digits_are_all_there_and_resized(tmp_path):
    put(tmp_path, Digits().fetch().files)
    loaded = Digits().load(tmp_path, OPTIONS, no_progress)
    assert loaded.images_NHWC.shape == (1797, 28, 28, 1)
    assert loaded.images_NHWC[:].max() == 255
    assert sorted(set(loaded.labels_N.tolist())) == list(range(10))
    assert loaded.given == {}


def test_digits_are_the_same_bytes_every_time():
    assert Digits().fetch() == Digits().fetch()


def test_a_folder_without_digits_and_a_damaged_one_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"images\.npy"):
        Digits().check(tmp_path)
    put(tmp_path, {"images.npy": b"no", "labels.npy": b"no"})
    with pytest.raises(UserError, match="fetch again"):
        Digits().load(tmp_path, OPTIONS, no_progress)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


# Fashion-MNIST, small.


@pytest.fixture
def fashion_files():
    rng = np.random.default_rng(0)
    arrays = {
        TRAIN_IMAGES: rng.integers(0, 256, (40, 28, 28), dtype=np.uint8),
        TRAIN_LABELS: np.repeat(np.arange(10, dtype=np.uint8), 4),
        TEST_IMAGES: rng.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        TEST_LABELS: np.arange(10, dtype=np.uint8),
    }
    return {name: idx(array) for name, array in arrays.items()}


def fashion(places, files):
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return FashionMnist(places, checksums)


def zipped(files, level=9):
    return {name: gzip.compress(content, level, mtime=0) for name, content in files.items()}


def test_the_official_test_split_is_marked(tmp_path, fashion_files):
    put(tmp_path, zipped(fashion_files))
    loaded = fashion([], fashion_files).load(tmp_path, OPTIONS, no_progress)
    assert loaded.images_NHWC.shape == (50, 28, 28, 1)
    assert loaded.given["test"].tolist() == [False] * 40 + [True] * 10
    assert loaded.labels_N.dtype == np.int64
    assert loaded.classes[9] == "Ankle boot"


def test_another_size_is_made_by_resizing(tmp_path, fashion_files):
    put(tmp_path, zipped(fashion_files))
    options = LoadOptions(size=32, fit="crop", max_corrupt=0)
    loaded = fashion([], fashion_files).load(tmp_path, options, no_progress)
    assert loaded.images_NHWC.shape == (50, 32, 32, 1)


def test_the_first_place_that_works_is_used_and_the_others_are_recorded(tmp_path, fashion_files):
    put(tmp_path / "damaged", {**zipped(fashion_files), TEST_LABELS: b"no"})
    put(tmp_path / "good", zipped(fashion_files, level=1))
    folders = [tmp_path / name for name in ("missing", "damaged", "good", "never")]
    names = tuple(fashion_files)
    source = fashion([folder_place(folder, names) for folder in folders], fashion_files)
    originals = source.fetch()
    assert originals.origin == str(tmp_path / "good")
    assert ["no such folder" in reason for reason in originals.tried] == [True, False]
    assert f"{TEST_LABELS} is damaged" in originals.tried[1]


def test_when_no_place_works_the_error_says_what_was_tried(tmp_path, fashion_files):
    def offline():
        raise UserError("the download failed (no network).")

    places = [folder_place(tmp_path / "none", (TRAIN_IMAGES,)), Place("the internet", offline)]
    with pytest.raises(UserError) as caught:
        fashion(places, fashion_files).fetch()
    for words in ("no such folder", "no network", "the internet", "data.path", TRAIN_IMAGES):
        assert words in str(caught.value)


def test_changed_content_is_refused_with_both_checksums(tmp_path, fashion_files):
    source = fashion([], fashion_files)
    changed = {**fashion_files, TEST_LABELS: fashion_files[TEST_LABELS][:-1] + b"\x07"}
    put(tmp_path, zipped(changed))
    with pytest.raises(UserError, match=source.checksums[TEST_LABELS]):
        source.check(tmp_path)


def test_a_missing_file_is_named(tmp_path, fashion_files):
    put(tmp_path, zipped(fashion_files))
    (tmp_path / TRAIN_LABELS).unlink()
    with pytest.raises(UserError, match=TRAIN_LABELS):
        fashion([], fashion_files).check(tmp_path)


def test_a_system_without_apt_is_told_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="not a Debian system"):
        debian_place("some-package", "usr/share/x", ("a",)).get()


# A folder of the user's images.


def draw(folder, counts, mode="RGB", size=(20, 30)):
    rng = np.random.default_rng(len(mode))
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
            image.convert(mode).save(folder / name / f"{index:02}.png")


def test_a_folder_gives_its_classes_in_order_of_name(tmp_path):
    draw(tmp_path, {"dog": 3, "ant": 4, "Zebra": 5})
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.txt").write_text("not in a class")
    loaded = ImageFolder().load(tmp_path, OPTIONS, no_progress)
    assert loaded.classes == ("Zebra", "ant", "dog")
    assert loaded.labels_N.tolist() == [0] * 5 + [1] * 4 + [2] * 3
    assert loaded.images_NHWC.shape == (12, 28, 28, 3)


def test_a_folder_is_grey_only_if_every_image_is(tmp_path):
    draw(tmp_path, {"a": 3, "b": 3}, mode="L")
    assert ImageFolder().load(tmp_path, OPTIONS, no_progress).images_NHWC.shape[-1] == 1
    draw(tmp_path / "a", {"deeper": 1}, mode="RGB")
    loaded = ImageFolder().load(tmp_path, OPTIONS, no_progress)
    assert loaded.images_NHWC.shape == (7, 28, 28, 3)


def test_unreadable_files_are_named_and_left_out(tmp_path):
    draw(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "a" / "01.png").write_bytes(b"no image")
    (tmp_path / "b" / "empty.png").touch()
    (tmp_path / "b" / "Thumbs.db").touch()
    options = LoadOptions(size=28, fit="crop", max_corrupt=2)
    loaded = ImageFolder().load(tmp_path, options, no_progress)
    assert loaded.corrupt == ("a/01.png", "b/empty.png")
    assert loaded.labels_N.tolist() == [0] * 3 + [1] * 4
    assert len(loaded.images_NHWC) == 7


def test_too_many_unreadable_files_stop_the_run_by_name(tmp_path):
    draw(tmp_path, {"a": 4, "b": 4})
    for index in range(14):
        (tmp_path / "a" / f"bad{index:02}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"14 of 22 images .* allows 0") as caught:
        ImageFolder().load(tmp_path, OPTIONS, no_progress)
    assert "a/bad00.png" in str(caught.value)
    assert "and 4 more" in str(caught.value)


def test_the_checksum_covers_names_and_contents(tmp_path):
    draw(tmp_path, {"a": 3, "b": 3})
    before = ImageFolder().load(tmp_path, OPTIONS, no_progress).checksums
    (tmp_path / "a" / "00.png").rename(tmp_path / "a" / "000.png")
    assert ImageFolder().load(tmp_path, OPTIONS, no_progress).checksums != before


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (None, "no such folder"),
        ({}, "no subfolders"),
        ({"only": 5}, "one class only, 'only'"),
        ({"a": 5, "b": 0}, r"'b' \(0\)"),
        ({"a": 2, "b": 5}, r"'a' \(2\)"),
    ],
)
def test_a_folder_that_cannot_be_a_data_set_is_refused(tmp_path, counts, words):
    folder = tmp_path / "images"
    if counts is not None:
        folder.mkdir()
        draw(folder, counts)
    with pytest.raises(UserError, match=words):
        ImageFolder().check(folder)


def test_given_splits_are_kept_and_marked(tmp_path):
    for name, count in (("train", 4), ("valid", 2), ("test", 3)):
        draw(tmp_path / name, {"ant": count, "dog": count})
    loaded = ImageFolder().load(tmp_path, OPTIONS, no_progress)
    assert loaded.classes == ("ant", "dog")
    assert loaded.labels_N.tolist() == [0] * 4 + [1] * 4 + [0] * 2 + [1] * 2 + [0] * 3 + [1] * 3
    assert np.flatnonzero(loaded.given["val"]).tolist() == [8, 9, 10, 11]
    assert np.flatnonzero(loaded.given["test"]).tolist() == [12, 13, 14, 15, 16, 17]
    assert loaded.files[8] == "valid/ant/00.png"


def test_a_split_that_is_not_given_is_not_marked(tmp_path):
    for name in ("train", "val"):
        draw(tmp_path / name, {"ant": 3, "dog": 3})
    loaded = ImageFolder().load(tmp_path, OPTIONS, no_progress)
    assert loaded.given["val"].sum() == 6
    assert "test" not in loaded.given


def test_train_needs_an_image_for_every_split_that_is_drawn_from_it(tmp_path):
    draw(tmp_path / "train", {"ant": 1, "dog": 5})
    draw(tmp_path / "test", {"ant": 1, "dog": 1})
    with pytest.raises(UserError, match=r"too few images for train and val in 'ant' \(1\)"):
        ImageFolder().check(tmp_path)
    draw(tmp_path / "val", {"ant": 1, "dog": 1})
    ImageFolder().check(tmp_path)


def sixteen_bits(folder, peaks, classes=("a", "b")):
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index, peak in enumerate(peaks):
            values_HW = np.zeros((28, 28), np.uint16)
            values_HW[3:9, 3 : 9 + index] = peak
            Image.fromarray(values_HW).save(folder / name / f"deep{index}.png")


def test_sixteen_bit_images_are_scaled_by_the_bits_that_the_set_uses(tmp_path):
    sixteen_bits(tmp_path, (1000, 3500, 2000))
    loaded = ImageFolder().load(tmp_path, OPTIONS, no_progress)
    assert loaded.bits == 12
    assert loaded.images_NHWC[:].max(axis=(1, 2, 3)).tolist() == [62, 218, 125] * 2
    assert "are read as 12-bit values, since the largest is 3500: 6 images." in loaded.notes[0]


def test_a_given_test_split_has_no_say_in_the_scale(tmp_path):
    sixteen_bits(tmp_path / "train", (1000, 3500, 2000))
    sixteen_bits(tmp_path / "test", (60000,))
    loaded = ImageFolder().load(tmp_path, OPTIONS, no_progress)
    assert loaded.bits == 12
    assert loaded.images_NHWC[np.flatnonzero(loaded.given["test"])].max() == 255


def test_eight_bit_images_beside_sixteen_bit_ones_keep_their_own_scale(tmp_path):
    sixteen_bits(tmp_path, (1000, 3500, 2000))
    Image.new("L", (28, 28), 77).save(tmp_path / "a" / "shallow.png")
    loaded = ImageFolder().load(tmp_path, OPTIONS, no_progress)
    assert loaded.images_NHWC[:].max(axis=(1, 2, 3)).tolist() == [62, 218, 125, 77, 62, 218, 125]
    assert "the 8-bit images keep their own full scale: 1." in loaded.notes[0]


def test_full_sixteen_bits_keep_their_high_byte(tmp_path):
    sixteen_bits(tmp_path, (40000, 65535, 256))
    loaded = ImageFolder().load(tmp_path, OPTIONS, no_progress)
    assert loaded.bits == 16
    assert loaded.images_NHWC[:].max(axis=(1, 2, 3)).tolist() == [156, 255, 1] * 2


def test_names_with_newlines_and_spaces_are_read_and_shown_escaped(tmp_path):
    draw(tmp_path, {"a ": 3, "new\nline": 3})
    (tmp_path / "new\nline" / "0\n.PNG").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"new\\nline/0\\n\.PNG is not an image"):
        ImageFolder().load(tmp_path, OPTIONS, no_progress)
    options = LoadOptions(size=28, fit="crop", max_corrupt=1)
    assert ImageFolder().load(tmp_path, options, no_progress).classes == ("a ", "new\nline")


def test_no_room_at_one_place_is_a_reason_to_try_the_next(tmp_path, fashion_files):
    def full():
        raise OSError(28, "No space left on device", "/tmp/x")

    put(tmp_path, zipped(fashion_files))
    good = folder_place(tmp_path, tuple(fashion_files))
    originals = fashion([Place("a full disk", full), good], fashion_files).fetch()
    assert "No space left on device" in originals.tried[0]


def test_a_folder_around_the_classes_is_named_as_the_mistake(tmp_path):
    draw(tmp_path / "archive", {"ant": 3, "dog": 3})
    with pytest.raises(UserError, match=r"one class only, 'archive'.*set data\.path to .*/archive"):
        ImageFolder().check(tmp_path)
