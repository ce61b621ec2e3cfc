"""Bytes of prepared arrays and batches that must not change: those of the default release."""

import hashlib
import json

import numpy as np
import pytest

from core.files import sha256_file, write_bytes
from core.stage import run_stage
from data.dataset import DatasetInfo, read_split
from data.prepare import prepare as prepare_dataset
from data.settings import DataParams
from data.sources import SOURCES
from data.sources.base import Loaded
from data.stream import TrainStream
from stages.prepare import prepare

DIGITS = {
    "test.images.npy": "b0cca6a38418c0521b74ea7ece84a06be3ce08ab95b0a7c8ebcc6d0c6d041002",
    "test.labels.npy": "bdc4b5586c8bb32c2dbbe7497e53826acee983f5cc97af047aaa928c78bebad5",
    "train.images.npy": "d7acff6217e7c7a4678f807e217fbff4996a8e6e238cf276c47f2031c9645239",
    "train.labels.npy": "a905f5ff9f6775b3ddf14fce08fb1fbd7ceb6f1fd4da45b5cea34c61adb94f1e",
    "val.images.npy": "88cc5ba2797922bb9628434d68df7c6fccfcea2c67db56862c922daf71981341",
    "val.labels.npy": "2356e20ca9e22977515d372eb84d76078f4c86065bfe91b0fb690d7c60731530",
    "dataset.json": "53c88fc39b52a7a903a8b05d5fecdde69eaae96000bb7d6fd2b39343d4fd3c86",
}
DIGITS_BATCHES = "89ccbcf2c6ea9b4cf047fd682d94a29ef60cc89258b61f85a982a948e14214b1"
GIVEN_TEST = "4d3c9a174342bf3a19dbe7b33d2a50bc9dbaf1abc5dc280491c0e96e65bf76d1"
"""Of a data set like Fashion-MNIST: grey, with an official test split, copies and conflicts."""


@pytest.fixture
def digits(tmp_path):
    for name, content in SOURCES["digits"].fetch().files.items():
        write_bytes(tmp_path / "raw" / name, content)
    section = {"source": "digits", "path": "raw", "size": 28, "augment": {"flip": True, "shift": 2}}
    file = tmp_path / "params.yaml"
    file.write_text(json.dumps({"seed": 0, "data": section}))
    out = tmp_path / "data"
    run_stage(prepare, [f"--params={file}", f"--source={tmp_path / 'raw'}", f"--out={out}"])
    return out


def test_prepared_digits_have_the_same_bytes(digits):
    assert {file.name: sha256_file(file) for file in digits.iterdir()} == DIGITS


def test_batches_of_digits_have_the_same_bytes(digits):
    info, split = DatasetInfo.read(digits), read_split(digits, "train")
    stream = TrainStream(split, info, 64, 0, augment=True)
    digest = hashlib.sha256()
    for step in (0, 1, 2, 900):
        batch = stream.at(step, views=2)
        digest.update(batch.images_NCHW.numpy().tobytes())
        digest.update(batch.second_NCHW.numpy().tobytes())
    assert digest.hexdigest() == DIGITS_BATCHES


def test_an_official_test_split_gives_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    images_NHWC = rng.integers(0, 256, (3000, 28, 28, 1), dtype=np.uint8)
    labels_N = rng.integers(0, 10, 3000)
    images_NHWC[rng.integers(0, 3000, 90)] = images_NHWC[rng.integers(0, 3000, 90)]
    given = {"test": np.arange(3000) >= 2500}
    loaded = Loaded(images_NHWC, labels_N, tuple("0123456789"), given)
    section = {"source": "fashion-mnist", "path": "raw", "size": 28, "seed": 3}
    prepare_dataset(loaded, DataParams(**section)).write(tmp_path)
    digest = hashlib.sha256()
    for file in sorted(tmp_path.iterdir()):
        digest.update(f"{file.name} {sha256_file(file)}\n".encode())
    assert digest.hexdigest() == GIVEN_TEST
