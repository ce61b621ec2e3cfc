"""Metrics of the delivered file in a bundle, and the device's limits on them."""

import json
import shutil

import numpy as np
import pytest

from bundles.check.verify import verify
from bundles.gate import check_limits
from bundles.quality import FILE, read_quality
from bundles.read import read_bundle
from core.files import read_json, write_bytes
from models.nets.subnet import Subnet
from models.nets.weights import to_bytes
from models.quality.evaluation import evaluate_quality
from tests.bundles.conftest import DEVICES, World, smallest, write_params
from tests.bundles.forging import saved, thorough

LABELS = tuple(str(k) for k in range(10))


@pytest.mark.parametrize("device", DEVICES)
def test_every_delivered_file_has_metrics_that_fit_its_accuracy(world, bundles, device):
    bundle = read_bundle(bundles[device])
    quality, manifest = read_quality(bundle), bundle.manifest
    assert quality is not None
    assert quality.summary() == manifest.quality
    assert quality.accuracy == manifest.accuracy.delivered
    assert (quality.images, quality.val_images) == (197, 200)
    (chosen,) = [row for row in manifest.candidates if row.file == manifest.model.built_from]
    assert chosen.balanced_accuracy == pytest.approx(quality.balanced_accuracy, abs=0.02)
    assert chosen.min_class_recall is not None
    assert quality.ece <= quality.ece_uncalibrated + 0.02
    card = bundle.files["MODEL_CARD.md"].decode()
    assert f"| balanced accuracy | {quality.balanced_accuracy:.4g} | above 0.1 |" in card
    summary = read_json(world.out("bundle", device) / "bundle.json", "netwright/bundle-summary/1")
    assert summary["quality"] == manifest.quality.model_dump(mode="json")


def test_the_metrics_of_int8_are_those_of_the_delivered_file(world, bundles):
    quality = read_quality(read_bundle(bundles["edge"]))
    export = read_json(world.out("export", "edge") / "export.json", "netwright/export/1")
    assert export["precision"] == "int8"
    assert export["quality"]["confusion"] == quality.confusion
    labels_N = np.load(world.root / "data" / "val.labels.npy")
    assert export["mistakes"]
    for row in export["mistakes"]:
        assert row["true"] == str(labels_N[row["index"]]) != row["predicted"]


def manifest_with(bundle, logits_NK, labels_N, **limits):
    """The manifest of a bundle whose delivered file gives these logits on test images."""
    manifest = read_bundle(bundle).manifest
    own = (logits_NK, labels_N)
    summary = evaluate_quality(own, own, LABELS).summary()
    summary = summary.model_copy(update={"ece": 0.3333})
    device = manifest.device.model_copy(update=limits)
    return manifest.model_copy(update={"quality": summary, "device": device})


def logits_of(answers_N):
    return np.eye(10)[answers_N] * 3


COUNTS = [900, *([12] * 9)]


def test_the_answer_of_the_largest_class_is_held_back_whatever_its_accuracy(bundles):
    labels_N = np.repeat(np.arange(10), COUNTS)
    constant = manifest_with(bundles["cpu"], logits_of(np.zeros_like(labels_N)), labels_N)
    verdict = check_limits(constant, 1000)
    assert not verdict.passed
    assert (
        "balanced accuracy 0.1000 is no better than the 0.1000 of a network" in verdict.reasons[0]
    )
    assert "no image is recognised of 1, 2, 3, 4, 5 and 4 more, with 10 or" in verdict.reasons[1]


def test_one_class_that_is_never_recognised_is_held_back(bundles):
    labels_N = np.repeat(np.arange(10), COUNTS)
    answers_N = np.where(labels_N == 7, 0, labels_N)
    verdict = check_limits(manifest_with(bundles["cpu"], logits_of(answers_N), labels_N), 1000)
    assert verdict.reasons == ("no image is recognised of 7, with 10 or more test images each",)
    answers_N[np.flatnonzero(labels_N == 7)[0]] = 7
    verdict = check_limits(manifest_with(bundles["cpu"], logits_of(answers_N), labels_N), 1000)
    assert verdict.passed


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"min_balanced_accuracy": 0.95}, "balanced accuracy 0.9000 is below the required 0.95"),
        ({"min_class_recall": 0.1}, "recall of a class 0.0000 (7) is below the required 0.1"),
        ({"min_class_recall": 0.0, "max_ece": 0.1}, "error 0.3333 is over max_ece 0.1"),
        ({"min_class_recall": 0.0, "min_balanced_accuracy": 0.9, "max_ece": 0.4}, None),
    ],
)
def test_limits_that_a_user_sets_replace_the_default_ones(bundles, limits, reason):
    labels_N = np.repeat(np.arange(10), COUNTS)
    answers_N = np.where(labels_N == 7, 0, labels_N)
    manifest = manifest_with(bundles["cpu"], logits_of(answers_N), labels_N, **limits)
    verdict = check_limits(manifest, 1000)
    assert verdict.passed == (reason is None)
    assert reason is None or any(reason in text for text in verdict.reasons)


def test_limits_on_metrics_that_were_not_recorded_hold_the_release_back(bundles):
    manifest = read_bundle(bundles["cpu"]).manifest.model_copy(update={"quality": None})
    assert check_limits(manifest, 1000).passed
    device = manifest.device.model_copy(update={"max_ece": 0.1})
    verdict = check_limits(manifest.model_copy(update={"device": device}), 1000)
    assert verdict.reasons == (f"max_ece is required, and the bundle has no {FILE}",)


@pytest.mark.slow
def test_a_real_network_that_always_gives_one_answer_is_held_back(world, tmp_path):
    root = tmp_path / "world"
    for name in ("data", "rank", "train"):
        shutil.copytree(world.root / name, root / name)
    shutil.copytree(world.out("profile", "cpu"), root / "profile" / "cpu")
    changes = {"precision": "float32", "min_accuracy": 0, "budget": {"flops": 10**9}}
    write_params(root / "params.yaml", {"cpu": DEVICES["cpu"] | changes})
    network = Subnet(smallest())
    *_, (_, weight), (_, bias) = network.named_parameters()
    weight.data.zero_()
    bias.data[:] = 0
    bias.data[3] = 5
    write_bytes(root / "train" / "model.safetensors", to_bytes(network))
    copy = World(root)
    copy.quantize("cpu")
    copy.export("cpu")
    copy.bundle("cpu")
    summary = read_json(root / "bundle" / "cpu" / "bundle.json", "netwright/bundle-summary/1")
    assert not summary["passed"]
    assert "a network that always gives the same answer" in summary["reasons"][0]
    release = json.loads((copy.release(root / "release") / "release.json").read_text())
    assert release["devices"]["cpu"]["quality"]["worst_class"] == "0"
    assert release["devices"]["cpu"]["passed"] is False


def set_in(place):
    def change(content, files):
        quality = json.loads(files[FILE])
        place(quality)
        files[FILE] = json.dumps(quality).encode()

    return change


def one_more(counts):
    key = next(iter(counts))
    counts[key] += 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda q: q.update(ece=0.0), "it and the manifest have different metrics"),
        (lambda q: q.update(accuracy=0.99), "gives another accuracy"),
        (lambda q: q.update(balanced_accuracy=0.99), "gives another balanced accuracy"),
        (lambda q: one_more(q["confusion"]["3"]), "other numbers for the class '3'"),
        (lambda q: q["confusion"].pop("3"), "its confusion matrix has other classes"),
        (lambda q: q["classes"][0].update(label="zero"), "has other classes"),
        (lambda q: q.update(temperature=0), "malformed"),
        (lambda q: q["answers"].pop(0), "malformed"),
        (lambda q: q["answers"][0].update(test_risk=0.99), "answers at confidence 0 are not"),
    ],
)
def test_metrics_that_contradict_each_other_are_refused(bundles, tmp_path, change, words):
    path = saved(tmp_path, thorough(bundles["cpu"], set_in(change)))
    found = verify(path)
    assert not found.passed
    assert words in found.checks[-1].detail


def test_params_with_impossible_limits_are_refused(tmp_path):
    from core.settings import ParamsError
    from pipelines.checks.params import read_params

    write_params(tmp_path / "params.yaml", {"cpu": DEVICES["cpu"] | {"min_class_recall": 1.5}})
    with pytest.raises(ParamsError, match="min_class_recall"):
        read_params(tmp_path)
