import numpy as np
import pytest

from data.dataset import Augment, DatasetInfo, Split


@pytest.fixture
def info():
    return DatasetInfo(
        name="made up",
        image_shape=(3, 12, 12),
        classes=("cat", "dog"),
        mean=(0.5, 0.25, 0.75),
        std=(0.5, 0.25, 0.125),
        counts={"train": {"cat": 60, "dog": 40}, "val": {"cat": 1, "dog": 2}, "test": {"cat": 3}},
        augment=Augment(flip=True, shift=2),
        fit="pad",
        source={"checksums": {"folder": "0"}},
        arrays={},
    )


@pytest.fixture
def train():
    rng = np.random.default_rng(0)
    images_NHWC = rng.integers(1, 256, (100, 12, 12, 3), dtype=np.uint8)
    return Split(images_NHWC, rng.integers(0, 2, 100))
