"""Preprocessing in the bundle's reader and in its `run.py`."""

from pathlib import Path

import numpy as np
import pytest

from bundles.archive import Archive, BundleError
from bundles.build import run_template
from bundles.build.bundle import metadata_files
from bundles.golden import PREPROCESS, PREPROCESS_SCHEMA, Preprocess
from core.files import json_bytes

HOW = {
    "layout": "NCHW", "image_shape": [1, 2, 2], "fit": "crop", "scale": 255.0, "mean": [0.5],
    "std": [0.25],
}  # fmt: skip


def read(content):
    files = {PREPROCESS: json_bytes(PREPROCESS_SCHEMA, content)}
    return Archive(Path("x"), files, 0).read_record(PREPROCESS, Preprocess)


def test_bits_are_written_only_where_the_data_set_has_sixteen_bit_images(info):
    assert b"bits" not in metadata_files(info())[PREPROCESS]
    archive = Archive(Path("x"), metadata_files(info(bits=12)), 0)
    assert archive.read_record(PREPROCESS, Preprocess).bits == 12


def test_a_file_without_bits_is_valid():
    assert read(HOW).bits is None
    with pytest.raises(BundleError, match="malformed"):
        read({**HOW, "bits": 3})


def test_run_py_converts_sixteen_bits_to_eight_as_in_the_data_set(monkeypatch, tmp_path):
    how = {**HOW, "bits": 12}
    (tmp_path / PREPROCESS).write_bytes(json_bytes(PREPROCESS_SCHEMA, how))
    monkeypatch.setattr(run_template, "HERE", tmp_path)
    deep_NHWC = np.array([0, 16, 3500, 65535], np.uint16).reshape(1, 2, 2, 1)
    shallow_NHWC = np.array([0, 1, 218, 255], np.uint8).reshape(1, 2, 2, 1)
    assert np.array_equal(run_template.preprocess(deep_NHWC), read(how)(shallow_NHWC))


def test_run_py_refuses_sixteen_bit_images_without_known_bits(monkeypatch, tmp_path):
    (tmp_path / PREPROCESS).write_bytes(json_bytes(PREPROCESS_SCHEMA, HOW))
    monkeypatch.setattr(run_template, "HERE", tmp_path)
    with pytest.raises(ValueError, match="must be uint8"):
        run_template.preprocess(np.zeros((1, 2, 2, 1), np.uint16))


@pytest.fixture
def info():
    from data.dataset import Augment, DatasetInfo

    def make(**changes):
        return DatasetInfo(
            name="x",
            image_shape=(1, 2, 2),
            classes=("a", "b"),
            mean=(0.5,),
            std=(0.25,),
            counts={},
            augment=Augment(flip=False, shift=0),
            fit="crop",
            source={},
            arrays={},
            **changes,
        )

    return make
