import json
import os
import resource
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.errors import UserError
from core.files import sha256_file, write_bytes
from core.settings import ParamsError, bind
from core.stage import run_stage
from data.dataset import DatasetInfo, read_split
from data.prepare import channel_statistics
from data.prepare import prepare as prepare_dataset
from data.settings import DataParams
from data.sources import SOURCES
from data.sources.base import Loaded
from stages.prepare import prepare
from tests.support import ROOT

VALUES = {
    "source": "digits",
    "path": "artifacts/raw",
    "size": 12,
    "val_fraction": 0.1,
    "test_fraction": 0.15,
    "max_corrupt": 0,
}


def run(folder, out, seed=0, **changes):
    file = out.parent / "params.yaml"
    file.write_text(json.dumps({"seed": seed, "data": {**VALUES, **changes}}))
    run_stage(prepare, [f"--params={file}", f"--source={folder}", f"--out={out}"])
    return DatasetInfo.read(out)


@pytest.fixture
def digits(tmp_path):
    folder = tmp_path / "raw"
    for name, content in SOURCES["digits"].fetch().files.items():
        write_bytes(folder / name, content)
    return folder


def test_digits_become_three_splits_that_match_their_description(tmp_path, digits):
    info = run(digits, tmp_path / "data")
    assert info.image_shape == (1, 12, 12)
    assert info.augment.flip is False
    total = 0
    for name in ("train", "val", "test"):
        part = read_split(tmp_path / "data", name)
        total += len(part)
        assert np.bincount(part.labels_N).tolist() == list(info.counts[name].values())
    assert total == info.source["images"] == 1797
    train = read_split(tmp_path / "data", "train")
    assert np.isclose(train.images_NHWC.mean() / 255, info.mean[0], atol=1e-6)
    assert np.isclose(train.images_NHWC.std() / 255, info.std[0], atol=1e-6)
    for file, checksum in info.arrays.items():
        assert sha256_file(tmp_path / "data" / file) == checksum


def test_the_same_input_and_seed_give_the_same_bytes(tmp_path, digits):
    for name in ("one", "two"):
        run(digits, tmp_path / name)
    files = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_another_seed_gives_other_splits(tmp_path, digits):
    one = run(digits, tmp_path / "one", seed=1)
    two = run(digits, tmp_path / "two", seed=2)
    assert one.arrays != two.arrays


def test_params_overrule_what_suits_the_source(tmp_path, digits):
    info = run(digits, tmp_path / "data", augment={"flip": True, "shift": 1})
    assert (info.augment.flip, info.augment.shift) == (True, 1)


def test_a_folder_of_images_becomes_a_data_set(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for index in range(20):
            size = rng.integers(10, 40, 2)
            image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
            image.save(tmp_path / "mine" / name / f"{index}.png")
    (tmp_path / "mine" / "cat" / "broken.jpg").write_bytes(b"no")
    changes = {"source": "folder", "path": str(tmp_path / "mine")}
    info = run(tmp_path / "mine", tmp_path / "data", max_corrupt=1, **changes)
    assert info.classes == ("cat", "dog")
    assert info.image_shape == (3, 12, 12)
    assert info.source["corrupt"] == {"count": 1, "files": ["cat/broken.jpg"]}
    with pytest.raises(UserError, match=r"cat/broken\.jpg"):
        run(tmp_path / "mine", tmp_path / "data2", **changes)
    assert not (tmp_path / "data2").exists()


def test_copies_of_test_images_are_dropped_and_counted():
    rng = np.random.default_rng(0)
    images_NHWC = rng.integers(0, 256, (60, 4, 4, 1), dtype=np.uint8)
    images_NHWC[3], images_NHWC[8] = images_NHWC[50], images_NHWC[7]
    labels_N = np.arange(60, dtype=np.int64) % 2
    loaded = Loaded(images_NHWC, labels_N, ("a", "b"), {"test": np.arange(60) >= 40})
    prepared = prepare_dataset(loaded, DataParams(**VALUES))
    assert prepared.info.source["duplicates"] == {
        "copies": 2,
        "conflicting_labels": 4,
        "dropped": 1,
    }
    assert sum(len(part) for part in prepared.splits.values()) == 59
    assert len(prepared.splits["test"]) == 20


@given(st.integers(0, 99), st.integers(1, 3))
def test_statistics_are_those_of_the_pixels(seed, channels):
    rng = np.random.default_rng(seed)
    images_NHWC = rng.integers(0, 256, (9, 5, 4, channels), dtype=np.uint8)
    mean, std = channel_statistics(images_NHWC)
    assert np.allclose(mean, (images_NHWC / 255).mean(axis=(0, 1, 2)), atol=1e-6)
    assert np.allclose(std, (images_NHWC / 255).std(axis=(0, 1, 2)), atol=1e-6)


def test_a_constant_channel_can_still_be_divided_by():
    assert channel_statistics(np.full((2, 3, 3, 1), 7, np.uint8))[1] == (0.003922,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "fashion-mnst"}, "Did you mean 'fashion-mnist'"),
        ({"sise": 28}, "Did you mean 'size'"),
        ({"size": 0}, r"data\.size"),
        ({"size": "28"}, r"data\.size"),
        ({"val_fraction": 0.0}, r"data\.val_fraction"),
        ({"test_fraction": 0.9}, r"data\.test_fraction"),
        ({"max_corrupt": -1}, r"data\.max_corrupt"),
        ({"fit": "squeeze"}, r"data\.fit"),
        ({"augment": {"flp": True}}, "Did you mean 'flip'"),
    ],
)
def test_impossible_params_are_refused_by_key(changes, words):
    with pytest.raises(ParamsError, match=words):
        bind({**VALUES, **changes}, "data", DataParams)


def made(folder, classes, count, seed=0, mode="RGB"):
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8))
            image.convert(mode).save(folder / name / f"{index:02}.png")
    return folder


def test_given_splits_become_the_splits_and_are_said(tmp_path, capsys):
    for seed, (name, count) in enumerate((("train", 9), ("val", 2), ("test", 4))):
        made(tmp_path / "mine" / name, ("cat", "dog"), count, seed)
    leaked = tmp_path / "mine" / "train" / "cat" / "leak.png"
    shutil.copy(tmp_path / "mine" / "test" / "cat" / "00.png", leaked)
    info = run(tmp_path / "mine", tmp_path / "data", source="folder")
    assert {name: list(counts.values()) for name, counts in info.counts.items()} == {
        "train": [9, 9],
        "val": [2, 2],
        "test": [4, 4],
    }
    assert info.source["own_test_split"]
    assert info.source["own_val_split"]
    assert info.source["duplicates"]["dropped"] == 1
    said = capsys.readouterr().out
    assert "note: the folder's own splits are used: train, val, test." in said
    assert "train/cat/leak.png = test/cat/00.png" in said


def test_labels_that_contradict_each_other_are_said_by_name(tmp_path, capsys):
    folder = made(tmp_path / "mine", ("cat", "dog"), 12)
    shutil.copy(folder / "cat" / "03.png", folder / "dog" / "x.png")
    run(folder, tmp_path / "data", source="folder")
    said = capsys.readouterr().out
    assert "note: identical images with different labels: 2 images" in said
    assert "cat/03.png = dog/x.png" in said


def test_a_class_of_copies_of_another_is_refused_with_both_names(tmp_path):
    folder = made(tmp_path / "mine", ("alpha", "beta"), 12)
    shutil.copytree(folder / "alpha", folder / "gamma")
    with pytest.raises(UserError, match=r"'gamma' .* 12 of its 12 images are copies .* 'alpha'"):
        run(folder, tmp_path / "data", source="folder")


def test_what_was_skipped_is_recorded_and_said(tmp_path, capsys):
    folder = made(tmp_path / "mine", ("cat", "dog"), 9)
    (folder / "cat" / "Thumbs.db").touch()
    info = run(folder, tmp_path / "data", source="folder")
    assert info.source["skipped"] == {"Thumbs.db": 1}
    assert "Thumbs.db (1)" in capsys.readouterr().out


def test_used_bits_are_recorded_only_where_images_have_sixteen(tmp_path):
    folder = made(tmp_path / "plain", ("cat", "dog"), 9)
    assert run(folder, tmp_path / "one", source="folder").bits is None
    assert "bits" not in json.loads((tmp_path / "one" / "dataset.json").read_text())
    for index, name in enumerate(("cat", "dog")):
        for number in range(9):
            values_HW = np.full((14, 14), 100 + 300 * number + 64 * index, np.uint16)
            values_HW[: number + 3] = 3000
            Image.fromarray(values_HW).save(folder / name / f"{number:02}.png")
    info = run(folder, tmp_path / "two", source="folder")
    assert info.bits == 12
    assert DatasetInfo.read(tmp_path / "two") == info
    assert read_split(tmp_path / "two", "train").images_NHWC.max() == 3000 >> 4


def test_ten_thousand_images_are_looked_at_in_no_time(tmp_path):
    """Quadratic work would take minutes."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(5000):
            (tmp_path / name / f"{index}.png").touch()
    began = time.process_time()
    SOURCES["folder"].check(tmp_path)
    assert time.process_time() - began < 5
    labels_N = np.arange(10_000, dtype=np.int64) % 2
    images_NHWC = np.zeros((10_000, 2, 2, 1), np.uint8)
    images_NHWC[:, 0, 0, 0], images_NHWC[:, 0, 1, 0] = labels_N * 99, np.arange(10_000) % 251
    prepare_dataset(Loaded(images_NHWC, labels_N, ("a", "b")), DataParams(**VALUES))
    assert time.process_time() - began < 20


@pytest.mark.slow
def test_a_disk_without_room_is_one_message_with_the_file_and_the_remedy(tmp_path):
    made(tmp_path / "mine", ("cat", "dog"), 9)
    params = {"data": {**VALUES, "source": "folder", "path": str(tmp_path / "mine")}}
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    out = tmp_path / "data"
    flags = ["--params", "params.yaml", "--source", "mine", "--out", "data"]
    found = subprocess.run(
        [sys.executable, "-m", "stages", "prepare", *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    message = f"a temporary file in {tmp_path}: the file is larger than this account or disk allows"
    assert found.stderr.startswith(f"error: {message}")
    assert len(found.stderr.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(("fraction", "noted"), [(0.1, True), (0.4, False)])
def test_few_validation_images_are_noted_with_what_they_can_tell(
    tmp_path, digits, capsys, fraction, noted
):
    run(digits, tmp_path / "data", val_fraction=fraction)
    shown = capsys.readouterr().out
    assert ("few validation images" in shown) == noted
    note = "note: few validation images (151): an accuracy on them has a 95% interval of up to ±8%"
    assert (note in shown) == noted
