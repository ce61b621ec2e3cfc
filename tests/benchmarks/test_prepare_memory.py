import numpy as np
import pytest
from PIL import Image

from benchmarks.prepare_memory.__main__ import link_subset, measure, report
from core.errors import UserError


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    return tmp_path / "images"


def test_a_subset_has_as_many_images_of_every_class(tmp_path, images):
    link_subset(images, 12, tmp_path / "some")
    assert [len(list((tmp_path / "some" / name).iterdir())) for name in ("a", "b")] == [6, 6]


def test_too_few_images_are_refused(tmp_path, images):
    with pytest.raises(UserError, match="40 images in subfolders, not 41"):
        link_subset(images, 41, tmp_path / "some")


@pytest.mark.slow
def test_a_measurement_is_of_the_whole_stage(tmp_path, images):
    loaded, peak, seconds, arrays = measure(images, 40, 16, tmp_path / "work")
    assert peak >= loaded > 50e6
    assert seconds > 0
    assert arrays > 40 * 16 * 16 * 3
    assert "40" in report(16, [(40, (loaded, peak, seconds, arrays))])
