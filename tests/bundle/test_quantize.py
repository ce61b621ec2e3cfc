import hashlib
from pathlib import Path

import onnx
import pytest

from devices.device import Budget, Device
from stages.common.files import read_json
from stages.common.hops import Hop, HopError, Limits
from stages.quantize.choice import Candidate, ChoiceError, choose


def candidate(precision, val=0.9, ms=None, size=100, agreement=0.99):
    limits = Limits(9.0, 0.9, 0.05)
    hop = Hop("float32 ONNX", f"{precision} ONNX", 0.5, agreement, 0.9, 0.9, 100, limits)
    return Candidate(precision, f"{precision}.onnx", 0.0, val, agreement, ms, None, size, hop)


def device(**settings):
    common = {"backend": "onnxruntime", "budget": Budget(latency_ms=1.0), "min_accuracy": 0.5}
    return Device(**{**common, **settings})


def test_the_fastest_precision_within_the_accuracy_budget_is_chosen():
    both = [candidate("float32", ms=0.2), candidate("int8", val=0.895, ms=0.1)]
    chosen = choose(both, "box", device(), ("float32", "int8"), "")
    assert chosen.precision == "int8"
    assert "0.100 ms" in chosen.reason
    assert "0.200 ms" in chosen.reason


def test_a_slower_int8_is_not_chosen():
    both = [candidate("float32", ms=0.1), candidate("int8", ms=0.2)]
    assert choose(both, "box", device(), ("float32", "int8"), "").precision == "float32"


def test_equal_speed_keeps_the_higher_precision():
    both = [candidate("float32", ms=0.1), candidate("int8", ms=0.1)]
    assert choose(both, "box", device(), ("float32", "int8"), "").precision == "float32"


def test_a_precision_that_loses_too_much_accuracy_is_not_chosen_and_the_reason_says_so():
    both = [candidate("float32", ms=0.2), candidate("int8", val=0.85, ms=0.1)]
    chosen = choose(both, "box", device(), ("float32", "int8"), "")
    assert chosen.precision == "float32"
    assert "int8 loses 0.0500" in chosen.reason


def test_without_measurements_float32_is_delivered_and_the_reason_says_how_to_choose():
    rows = [
        candidate("float32", size=300),
        candidate("float16", size=200),
        candidate("int8", val=0.5, size=100),
    ]
    chosen = choose(rows, "box", device(), ("float32", "float16", "int8"), "no GPU answers.")
    assert chosen.precision == "float32"
    assert "latency was not measured: no GPU answers" in chosen.reason
    assert "set devices.box.precision to deliver float16 instead" in chosen.reason
    assert "int8 loses 0.4000" in chosen.reason


def test_a_runtime_without_float32_gets_its_own_default_or_what_of_its_precisions_keeps_it():
    offered = ("int8", "float16")
    rows = [candidate("float32"), candidate("int8"), candidate("float16")]
    chosen = choose(rows, "box", device(), offered, "it is emulated.")
    assert chosen.precision == "int8"
    assert "set devices.box.precision to deliver float16 instead" in chosen.reason
    rows[1] = candidate("int8", val=0.5)
    chosen = choose(rows, "box", device(), offered, "it is emulated.")
    assert chosen.precision == "float16"
    assert "int8 loses 0.4000" in chosen.reason
    rows[2] = candidate("float16", agreement=0.1)
    with pytest.raises(ChoiceError, match=r"int8 loses .*; float16 agrees .*max_accuracy_drop or"):
        choose(rows, "box", device(), offered, "it is emulated.")


def test_a_fixed_precision_is_kept_whatever_its_speed():
    both = [candidate("float32", ms=0.1), candidate("int8", ms=0.2)]
    assert (
        choose(both, "box", device(precision="int8"), ("float32", "int8"), "").precision == "int8"
    )


def test_a_precision_that_is_no_longer_the_same_network_is_never_delivered():
    both = [candidate("float32", ms=0.2), candidate("int8", ms=0.1, agreement=0.5)]
    assert choose(both, "box", device(), ("float32", "int8"), "").precision == "float32"
    with pytest.raises(HopError, match="float32 ONNX to int8 ONNX"):
        choose(both, "box", device(precision="int8"), ("float32", "int8"), "")


def test_the_stage_writes_every_precision_with_its_accuracy_speed_and_hop(world, bundles):
    found = read_json(world.root / "quantize" / "cpu" / "quantize.json", "netwright/quantize/1")
    rows = {row["precision"]: row for row in found["candidates"]}
    assert list(rows) == ["float32", "int8"]
    assert rows["float32"]["accuracy"] > 0.6
    assert rows["float32"]["agreement"] == 1.0
    assert all(row["latency_ms"] > 0 for row in rows.values())
    assert [(hop["from"], hop["to"], hop["passed"]) for hop in found["hops"]] == [
        ("subnet", "float32 ONNX", True),
        ("float32 ONNX", "int8 ONNX", True),
    ]
    assert found["hops"][0]["max_difference"] < 1e-3
    assert found["hops"][0]["images"] == 197


def test_a_device_that_is_not_here_gets_no_latency_and_the_form_of_int8_its_family_needs(
    world, bundles
):
    folder = world.root / "quantize" / "gpu"
    found = read_json(folder / "quantize.json", "netwright/quantize/1")
    assert [row["precision"] for row in found["candidates"]] == ["float32", "float16", "int8"]
    assert all(row["latency_ms"] is None for row in found["candidates"])
    assert found["chosen"] == "float32"
    assert "set devices.gpu.precision to deliver float16 or int8" in found["reason"]
    assert activation_types(folder / "int8.onnx") == {onnx.TensorProto.INT8}


def test_the_models_are_the_same_bytes_when_the_stage_runs_again(world, bundles):
    folder = world.root / "quantize" / "gpu"
    before = hashes(folder)
    world.quantize("gpu")
    assert hashes(folder) == before


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def activation_types(path: Path) -> set[int]:
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {constants[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"}


def test_an_onnx_file_that_is_another_network_fails_the_stage_by_the_hops_name(
    world, monkeypatch, tmp_path
):
    from stages.quantize import stage

    honest = stage.judge_onnx
    for name, broken in (("float32", "subnet to float32"), ("int8", "float32 ONNX to int8")):

        def shuffled(model, split, info, name=name):
            judged = honest(model, split, info)
            if model.stem != name:
                return judged
            return stage.Judged(judged.logits_NK[::-1].copy(), judged.accuracy)

        monkeypatch.setattr(stage, "judge_onnx", shuffled)
        with pytest.raises(HopError, match=broken):
            world.quantize("edge", tmp_path / name)  # a device that asks for int8
        assert not (tmp_path / name / "quantize.json").exists()


def test_accuracy_on_the_test_split_stops_a_release_but_takes_no_part_in_the_choice():
    limits = Limits(9.0, 0.9, 0.05)
    hop = Hop("float32 ONNX", "int8 ONNX", 0.5, 0.95, 0.9, 0.8, 100, limits)
    worse = Candidate("int8", "int8.onnx", 0.8, 0.9, 0.95, 0.1, None, 100, hop)
    both = [candidate("float32", ms=0.2), worse]
    assert choose(both, "box", device(), ("float32", "int8"), "").precision == "int8"
    with pytest.raises(HopError, match=r"accuracy goes from 0\.9000 to 0\.8000"):
        hop.require()
