import numpy as np
import pytest

from benchmarks.augmentation.__main__ import measure
from data.dataset import POLICIES, Augment, DatasetInfo, Split


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_every_word_is_measured_beside_a_real_step(channels):
    rng = np.random.default_rng(0)
    images_NHWC = rng.integers(0, 256, (16, 32, 32, channels), dtype=np.uint8)
    info = DatasetInfo(
        name="made up",
        image_shape=(channels, 32, 32),
        classes=("a", "b"),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        counts={"train": {"a": 8, "b": 8}, "val": {}, "test": {}},
        augment=Augment(flip=False, shift=0),
        fit="pad",
        source={},
        arrays={},
    )
    found = measure(Split(images_NHWC, np.arange(16) % 2), info, batch=4, steps=2)
    assert set(found) == {"none", *POLICIES}
    for wait, share in found.values():
        assert wait > 0
        assert 0 < share < 1
    assert found["strong"][0] > found["none"][0]
