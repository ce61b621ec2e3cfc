"""Predictions of a bundle."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundles.check.run import predict
from bundles.quality import read_quality
from bundles.read import read_bundle
from data.images import ImageError
from pipelines.cli.app import main


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


def predicted(monkeypatch, capsys, bundle, paths, *flags):
    """The answers of `netwright predict`, with its notes."""
    monkeypatch.setattr(
        sys, "argv", ["netwright", "predict", str(bundle), *map(str, paths), *flags]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    said = capsys.readouterr()
    return [line.split("\t")[1:] for line in said.out.splitlines()], said.err


def test_it_is_unsure_below_the_confidence_with_the_coverage_that_the_bundle_states(
    bundles, labelled, monkeypatch, capsys
):
    bundle, paths = bundles["edge"], list(labelled)
    all_answers, note = predicted(monkeypatch, capsys, bundle, paths)
    assert note == ""
    sure, note = predicted(monkeypatch, capsys, bundle, paths, "--min-confidence", "0.93")
    row = read_quality(read_bundle(bundle)).answers_at(0.93)
    assert row.threshold == 0.9
    assert f"with confidence 0.9 or more, {row.coverage:.2%} of 200 validation images" in note
    for (label, probability), (answer, same) in zip(all_answers, sure, strict=True):
        assert same == probability
        assert answer == (label if float(probability) >= 0.93 else "unsure")
    listed, _ = predicted(monkeypatch, capsys, bundle, paths, "--min-confidence", "0.9")
    answered = np.mean([answer != "unsure" for answer, _ in listed])
    assert answered == pytest.approx(row.test_coverage, abs=0.011)  # of 197 images
    assert 0 < answered < 1


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan"])
def test_a_confidence_that_is_no_probability_is_refused(bundles, monkeypatch, capsys, value):
    flags = ["predict", str(bundles["cpu"]), "x.png", "--min-confidence", value]
    monkeypatch.setattr(sys, "argv", ["netwright", *flags])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "--min-confidence" in capsys.readouterr().err
