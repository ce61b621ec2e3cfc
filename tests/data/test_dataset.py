import json

import numpy as np
import pytest

from core.errors import UserError
from core.files import FileFormatError
from data.dataset import DatasetInfo, images_file, labels_file, read_split


def write(folder, info, **changes):
    text = json.dumps({"schema": DatasetInfo.SCHEMA, **info.to_json(), **changes})
    (folder / DatasetInfo.FILE).write_text(text)


def test_a_description_survives_its_json(tmp_path, info):
    write(tmp_path, info)
    assert DatasetInfo.read(tmp_path) == info


def test_a_missing_description_names_the_stage_that_writes_it(tmp_path):
    with pytest.raises(FileFormatError, match="run the stage that writes it"):
        DatasetInfo.read(tmp_path)


def test_another_version_is_refused(tmp_path, info):
    write(tmp_path, info, schema="netwright/dataset/9")
    with pytest.raises(FileFormatError, match="netwright/dataset/9"):
        DatasetInfo.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_damaged_json_is_refused(tmp_path, text):
    (tmp_path / DatasetInfo.FILE).write_text(text)
    with pytest.raises(FileFormatError, match=r"dataset\.json"):
        DatasetInfo.read(tmp_path)


def test_a_description_without_a_key_is_refused(tmp_path, info):
    content = info.to_json()
    del content["mean"]
    (tmp_path / DatasetInfo.FILE).write_text(json.dumps({"schema": DatasetInfo.SCHEMA, **content}))
    with pytest.raises(FileFormatError, match="malformed at 'mean'"):
        DatasetInfo.read(tmp_path)


def test_arrays_are_mapped_not_read(tmp_path, train):
    np.save(tmp_path / images_file("train"), train.images_NHWC)
    np.save(tmp_path / labels_file("train"), train.labels_N)
    opened = read_split(tmp_path, "train")
    assert isinstance(opened.images_NHWC, np.memmap)
    assert np.array_equal(opened.images_NHWC, train.images_NHWC)
    assert len(opened) == 100


def test_arrays_that_do_not_fit_each_other_are_refused(tmp_path, train):
    np.save(tmp_path / images_file("val"), train.images_NHWC)
    np.save(tmp_path / labels_file("val"), train.labels_N[:-1])
    with pytest.raises(UserError, match="'val' arrays"):
        read_split(tmp_path, "val")


def test_a_truncated_array_is_refused(tmp_path, train):
    np.save(tmp_path / images_file("val"), train.images_NHWC)
    content = (tmp_path / images_file("val")).read_bytes()
    for size in (0, 40, len(content) // 2):
        (tmp_path / images_file("val")).write_bytes(content[:size])
        with pytest.raises(UserError, match="is damaged"):
            read_split(tmp_path, "val")
