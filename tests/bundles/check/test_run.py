"""Predictions of a bundle."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundles.check.run import predict
from bundles.read import read_bundle
from data.images import ImageError


@pytest.fixture
def labelled(world, tmp_path) -> dict[Path, str]:
    """The labels of all test images, by image file."""
    images_NHWC = np.load(world.root / "data" / "test.images.npy")
    labels_N = np.load(world.root / "data" / "test.labels.npy")
    paths = [tmp_path / f"{i}.png" for i in range(len(labels_N))]
    for path, image_HWC in zip(paths, images_NHWC, strict=True):
        Image.fromarray(image_HWC[..., 0]).save(path)
    return dict(zip(paths, map(str, labels_N), strict=True))


@pytest.mark.parametrize("device", ["cpu", "edge", "gpu", "dsp", "phone"])
def test_predictions_have_the_accuracy_of_the_manifest(bundles, labelled, device):
    paths = list(labelled)[: 20 if device == "dsp" else None]  # emulated: slow
    found = predict(bundles[device], paths)
    assert all(0 < probability <= 1 for _, probability in found)
    right = np.mean([name == labelled[path] for path, (name, _) in zip(paths, found, strict=True)])
    stated = read_bundle(bundles[device]).manifest.accuracy.delivered
    assert right == pytest.approx(stated, abs=0.35 if device == "dsp" else 1e-6)


def test_a_file_that_is_not_an_image_is_refused(bundles, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"no image")
    with pytest.raises(ImageError):
        predict(bundles["cpu"], [path])
