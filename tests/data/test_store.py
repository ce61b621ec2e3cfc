import io

import numpy as np
import pytest

from core.files import write_array_batches
from data.store import StoredImages, in_batches

RNG = np.random.default_rng(0)
IMAGES_NHWC = RNG.integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)


@pytest.fixture
def stored(tmp_path):
    images = StoredImages(tmp_path, IMAGES_NHWC.shape)
    for index in RNG.permutation(50).tolist():
        images[index] = IMAGES_NHWC[index]
    return images


def test_stored_images_are_read_like_an_array(stored):
    rows = np.array([7, 0, 7, 49])
    assert np.array_equal(stored[:], IMAGES_NHWC)
    assert np.array_equal(stored[3:9], IMAGES_NHWC[3:9])
    assert np.array_equal(stored[rows], IMAGES_NHWC[rows])
    assert (len(stored), stored.shape) == (50, IMAGES_NHWC.shape)


def test_a_selection_has_some_rows_and_the_first_channels(stored):
    rows = np.array([4, 2, 30])
    chosen = stored.select(rows, channels=1)
    assert chosen.shape == (3, 6, 5, 1)
    assert np.array_equal(chosen[:], IMAGES_NHWC[rows][..., :1])
    assert np.array_equal(chosen[np.array([2, 0])], IMAGES_NHWC[[30, 4]][..., :1])


def test_the_file_leaves_no_name(stored, tmp_path):
    assert list(tmp_path.iterdir()) == []
    assert len(stored) == 50


def test_batches_cover_the_rows_in_order(monkeypatch, stored):
    monkeypatch.setattr("data.store._BATCH_BYTES", 7 * 90)
    batches = list(in_batches(stored))
    assert [len(batch) for batch in batches] == [7] * 7 + [1]
    assert np.array_equal(np.concatenate(batches), IMAGES_NHWC)
    rows = np.array([5, 3, 9, 1, 0, 2, 8, 40])
    assert np.array_equal(np.concatenate(list(in_batches(stored, rows))), IMAGES_NHWC[rows])


def test_batches_are_written_as_numpy_writes_the_whole(tmp_path, monkeypatch, stored):
    monkeypatch.setattr("data.store._BATCH_BYTES", 7 * 90)
    file = tmp_path / "x.npy"
    write_array_batches(file, stored.shape, np.dtype(np.uint8), in_batches(stored))
    buffer = io.BytesIO()
    np.save(buffer, IMAGES_NHWC)
    assert file.read_bytes() == buffer.getvalue()


def test_too_few_rows_write_no_file(tmp_path):
    with pytest.raises(ValueError, match="2 rows written of 3"):
        write_array_batches(tmp_path / "x.npy", (3, 2), np.dtype(np.uint8), [np.zeros((2, 2))])
    assert list(tmp_path.iterdir()) == []
