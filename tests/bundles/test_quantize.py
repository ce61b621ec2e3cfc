"""The stage `quantize` on trained networks."""

import hashlib
from pathlib import Path

import onnx
import pytest

from core.files import read_json
from models.nets.equivalence import EquivalenceError, compare


def test_the_stage_writes_accuracy_latency_and_check_of_every_precision(world, bundles):
    found = read_json(world.root / "quantize" / "cpu" / "quantize.json", "netwright/quantize/1")
    rows = {row["name"]: row for row in found["candidates"]}
    assert list(rows) == ["float32", "int8-minmax", "int8-percentile"]
    assert rows["float32"]["accuracy"] > 0.6
    assert rows["float32"]["agreement"] == 1.0
    assert all(row["latency_ms"] > 0 for row in rows.values())
    assert [(hop["from"], hop["to"], hop["passed"]) for hop in found["hops"]] == [
        ("subnet", "float32 ONNX", True),
        ("float32 ONNX", "int8-minmax ONNX", True),
        ("float32 ONNX", "int8-percentile ONNX", True),
    ]
    assert found["hops"][0]["max_difference"] < 1e-3
    assert found["hops"][0]["images"] == 197


def test_a_device_that_is_not_here_gets_no_latency_and_the_int8_scheme_of_its_backend(
    world, bundles
):
    folder = world.root / "quantize" / "gpu"
    found = read_json(folder / "quantize.json", "netwright/quantize/1")
    precisions = [row["precision"] for row in found["candidates"]]
    assert precisions == ["float32", "float16", "int8", "int8"]
    assert all(row["latency_ms"] is None for row in found["candidates"])
    assert found["chosen"] == "float32"
    assert "set devices.gpu.precision to deliver float16 or int8" in found["reason"]
    for file in folder.glob("int8-*.onnx"):
        assert activation_types(file) == {onnx.TensorProto.INT8}


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def activation_types(path: Path) -> set[int]:
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {constants[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"}


@pytest.mark.slow
def test_an_onnx_file_that_is_another_network_fails_the_stage_and_the_check_is_named(
    world, monkeypatch, tmp_path
):
    monkeypatch.setattr("devices.quantize.build.should_build", lambda *_: False)
    for name, broken in (("float32", "subnet to float32"), ("int8", "float32 ONNX to int8")):

        def shuffled(source, target, expected_NK, found_NK, *rest, name=name):
            other_NK = found_NK[::-1] if target.startswith(name) else found_NK
            return compare(source, target, expected_NK, other_NK, *rest)

        monkeypatch.setattr("devices.quantize.variants.compare", shuffled)
        with pytest.raises(EquivalenceError, match=broken):
            world.quantize("edge", tmp_path / name)  # a device that requests int8
        assert not (tmp_path / name / "quantize.json").exists()


def test_every_candidate_records_its_method_and_rejection(world, bundles):
    found = read_json(world.root / "quantize" / "gpu" / "quantize.json", "netwright/quantize/1")
    by_name = {row["name"]: row for row in found["candidates"]}
    assert [row["method"] for row in by_name.values()] == [
        "none",
        "none",
        "minmax",
        "percentile",
    ]
    for name, row in by_name.items():
        assert row["source"] == (None if name == "float32" else "float32")
        assert (world.root / "quantize" / "gpu" / row["file"]).stat().st_size == row["size_bytes"]
        lost = by_name["float32"]["val_accuracy"] - row["val_accuracy"]
        assert (row["rejected"] is not None) == (lost > 0.2)
    assert found["file"] in {row["file"] for row in found["candidates"]}


def test_a_stage_that_runs_again_gives_the_same_bytes_and_deletes_files_of_an_interrupted_run(
    world, bundles, tmp_path
):
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("int8-mixed.onnx", "quantize.json", ".int8-mixed.onnx.x.tmp"):
        (folder / name).write_bytes(b"half")
    world.quantize("gpu", folder)
    assert hashes(folder) == hashes(world.root / "quantize" / "gpu")
