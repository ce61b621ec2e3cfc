"""The ledger of predictions, reproducible hashes and provenance."""

import shutil

import pytest

from bundles.manifest import relative_error
from bundles.read import read_bundle
from core.files import read_json
from models.search.choice import Choice


def entries(bundle):
    return {entry.what: entry for entry in read_bundle(bundle).manifest.ledger}


def test_the_ledger_has_the_delivered_file_every_candidate_and_accuracy(world, bundles):
    rows = entries(bundles["cpu"])
    export = read_json(world.root / "export/cpu/export.json", "netwright/export/1")
    quantize = read_json(world.root / "quantize/cpu/quantize.json", "netwright/quantize/1")
    manifest = read_bundle(bundles["cpu"]).manifest
    delivered = rows["latency of the delivered file"]
    assert delivered.measured == export["measured_ms"]
    assert delivered.predicted == manifest.latency_ms.predicted
    for candidate in quantize["candidates"]:
        row = rows[f"latency of the {candidate['name']} ONNX file"]
        assert row.measured == candidate["latency_ms"]
        assert row.predicted > 0
        assert row.error == pytest.approx(row.predicted / row.measured - 1, abs=1e-5)
    accuracy = rows["accuracy of the trained network on validation images"]
    assert accuracy.measured == 0.9


def test_what_was_neither_predicted_nor_measured_is_null_and_has_no_error(bundles):
    for what, row in entries(bundles["gpu"]).items():
        if "latency" in what:
            assert row.predicted is row.measured is row.error is row.expected_error is None


def test_predicted_accuracy_is_that_of_the_supernet_slice(world, bundles, tmp_path):
    root = tmp_path / "world"
    shutil.copytree(world.root, root)
    file = root / "rank" / "choice.json"
    Choice.of(Choice.read(file).architecture, "shared with edge", 0.45).write(file)
    bundle = type(world)(root).bundle("cpu", tmp_path / "out")
    row = entries(bundle)["accuracy of the trained network on validation images"]
    assert (row.predicted, row.measured, row.error) == (0.45, 0.9, -0.5)
    card = read_bundle(bundle).files["MODEL_CARD.md"].decode()
    assert "| accuracy of the trained network on validation images | 0.45 | 0.9 | -50.0% |" in card
    assert "`), shared with edge.\n" in card


def test_an_error_is_relative_to_the_measurement():
    assert relative_error(1.1, 1.0) == pytest.approx(0.1)
    assert relative_error(0.5, 1.0) == pytest.approx(-0.5)


def test_engines_of_two_builds_are_identified_by_their_source_file(world, bundles, tmp_path):
    root = tmp_path / "world"
    shutil.copytree(world.root, root)
    other = type(world)(root)
    other.export("gpu")
    first, second = read_bundle(bundles["gpu"]), read_bundle(other.bundle("gpu", tmp_path / "out"))
    differing = {name for name in first.files if first.files[name] != second.files[name]}
    assert differing <= {"model.engine", "manifest.json", "sbom.cdx.json"}
    ours, theirs = first.manifest, second.manifest
    assert ours.model.built_from_sha256 == theirs.model.built_from_sha256
    assert ours.model.built_from_sha256 == ours.files["model.onnx"]
    assert ours.reproducible_sha256 == theirs.reproducible_sha256
    assert ours.reproducible_sha256 != read_bundle(bundles["cpu"]).manifest.reproducible_sha256


def test_provenance_names_the_weights_the_data_and_the_params(world, bundles):
    found = read_bundle(bundles["cpu"]).manifest.provenance
    assert {"model.safetensors", "train.json", "quantize.json", "export.json"} <= set(found.inputs)
    assert any(name.endswith(".onnx") for name in found.inputs)
    assert found.dataset == "digits"
