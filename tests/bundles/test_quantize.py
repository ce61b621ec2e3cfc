import hashlib
from pathlib import Path

import onnx
import pytest

from core.errors import UserError
from core.files import read_json
from devices.device import Budget, Device
from devices.quantize.result import Candidate
from devices.quantize.selection import choose, rejection
from models.nets.equivalence import AppliedLimits, EquivalenceCheck, EquivalenceError, compare


def check(name, agreement=0.99, after=0.9):
    return EquivalenceCheck(
        source="float32 ONNX",
        target=f"{name} ONNX",
        max_difference=0.5,
        agreement=agreement,
        accuracy_before=0.9,
        accuracy=after,
        images=100,
        limit=AppliedLimits(max_difference=9.0, agreement=0.9, accuracy_drop=0.05),
    )


def candidate(name, val=0.9, ms=None, agreement=0.99, **measured):
    precision, _, method = name.partition("-")
    return Candidate(
        name=name,
        precision=precision,
        method=method or "none",
        source="float32",
        accuracy=0.9,
        val_accuracy=val,
        agreement=agreement,
        latency_ms=ms,
        size_bytes=100,
        rejected=rejection(name, 0.9 - val, check(name, agreement), device()),
        **measured,
    )


def device(**settings):
    common = {"backend": "onnxruntime", "budget": Budget(latency_ms=1.0), "min_accuracy": 0.5}
    return Device(**{**common, **settings})


def test_the_fastest_precision_within_the_accuracy_budget_is_chosen():
    both = [candidate("float32", ms=0.2), candidate("int8", val=0.895, ms=0.1)]
    chosen, reason = choose(both, "box", device(), ("float32", "int8"), "")
    assert chosen.precision == "int8"
    assert "0.100 ms" in reason
    assert "0.200 ms" in reason


def test_a_slower_int8_is_not_chosen():
    both = [candidate("float32", ms=0.1), candidate("int8", ms=0.2)]
    assert choose(both, "box", device(), ("float32", "int8"), "")[0].precision == "float32"


def test_equal_speed_keeps_the_higher_precision():
    both = [candidate("float32", ms=0.1), candidate("int8", ms=0.1)]
    assert choose(both, "box", device(), ("float32", "int8"), "")[0].precision == "float32"


def test_a_precision_that_loses_too_much_accuracy_is_not_chosen_and_the_reason_says_so():
    both = [candidate("float32", ms=0.2), candidate("int8", val=0.85, ms=0.1)]
    chosen, reason = choose(both, "box", device(), ("float32", "int8"), "")
    assert chosen.precision == "float32"
    assert "int8 loses 0.0500" in reason


def test_without_measurements_float32_is_delivered_and_the_reason_says_how_to_choose():
    rows = [
        candidate("float32"),
        candidate("float16"),
        candidate("int8", val=0.5),
    ]
    chosen, reason = choose(
        rows, "box", device(), ("float32", "float16", "int8"), "no GPU answers."
    )
    assert chosen.precision == "float32"
    assert "latency was not measured: no GPU answers" in reason
    assert "set devices.box.precision to deliver float16 instead" in reason
    assert "int8 loses 0.4000" in reason


def test_a_runtime_without_float32_gets_its_default_or_the_next_precision_in_budget():
    offered = ("int8", "float16")
    rows = [candidate("float32"), candidate("int8"), candidate("float16")]
    chosen, reason = choose(rows, "box", device(), offered, "it is emulated.")
    assert chosen.precision == "int8"
    assert "set devices.box.precision to deliver float16 instead" in reason
    rows[1] = candidate("int8", val=0.5)
    chosen, reason = choose(rows, "box", device(), offered, "it is emulated.")
    assert chosen.precision == "float16"
    assert "int8 loses 0.4000" in reason
    rows[2] = candidate("float16", agreement=0.1)
    with pytest.raises(UserError, match=r"int8 loses .*; float16 agrees .*max_accuracy_drop or"):
        choose(rows, "box", device(), offered, "it is emulated.")


def test_a_fixed_precision_is_kept_whatever_its_speed():
    both = [candidate("float32", ms=0.1), candidate("int8", ms=0.2)]
    chosen, _ = choose(both, "box", device(precision="int8"), ("float32", "int8"), "")
    assert chosen.precision == "int8"


def test_a_precision_that_fails_the_equivalence_check_is_never_delivered():
    both = [candidate("float32", ms=0.2), candidate("int8", ms=0.1, agreement=0.5)]
    assert choose(both, "box", device(), ("float32", "int8"), "")[0].precision == "float32"


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


def test_an_onnx_file_that_is_another_network_fails_the_stage_and_the_check_is_named(
    world, monkeypatch, tmp_path
):
    for name, broken in (("float32", "subnet to float32"), ("int8", "float32 ONNX to int8")):

        def shuffled(source, target, expected_NK, found_NK, *rest, name=name):
            other_NK = found_NK[::-1] if target.startswith(name) else found_NK
            return compare(source, target, expected_NK, other_NK, *rest)

        monkeypatch.setattr("devices.quantize.variants.compare", shuffled)
        with pytest.raises(EquivalenceError, match=broken):
            world.quantize("edge", tmp_path / name)  # a device that requests int8
        assert not (tmp_path / name / "quantize.json").exists()


def test_accuracy_on_the_test_split_stops_a_release_but_is_not_used_for_selection():
    lost = check("int8", after=0.8)
    assert rejection("int8", 0.0, lost, device()) is None
    with pytest.raises(EquivalenceError, match=r"accuracy goes from 0\.9000 to 0\.8000"):
        lost.require()


def test_validation_accuracy_decides_between_equally_fast_files_of_one_precision():
    rows = [
        candidate("float32", val=0.9, ms=0.2),
        candidate("int8-minmax", val=0.894, ms=0.100),
        candidate("int8-entropy", val=0.899, ms=0.102),
    ]
    chosen, reason = choose(rows, "box", device(), ("float32", "int8"), "", same_speed=0.03)
    assert chosen.name == "int8-entropy"
    assert "not significantly slower than the fastest" in reason
    chosen, reason = choose(rows, "box", device(), ("float32", "int8"), "", same_speed=0.01)
    assert chosen.name == "int8-minmax"


def test_latencies_within_the_measurement_noise_count_as_equal():
    rows = [candidate("float32", ms=0.2), candidate("int8-minmax", val=0.899, ms=0.106)]
    for measured, chosen in (
        ({"spread": 0.1}, "int8-minmax"),
        ({"spread": 0.01}, "int8-entropy"),
        ({"spread": 0.01, "interval": (0.09, 0.11)}, "int8-minmax"),  # wider than the spread
    ):
        third = candidate("int8-entropy", val=0.894, ms=0.1, **measured)
        assert choose([*rows, third], "box", device(), ("float32", "int8"), "")[0].name == chosen


def test_a_higher_precision_that_is_as_fast_is_kept():
    rows = [candidate("float32", ms=0.102), candidate("int8-minmax", val=0.91, ms=0.1)]
    chosen, _ = choose(rows, "box", device(), ("float32", "int8"), "", same_speed=0.03)
    assert chosen.name == "float32"


def test_the_method_of_a_fixed_precision_keeps_the_accuracy_before_it_is_fast():
    rows = [
        candidate("float32", ms=0.05),
        candidate("int8-minmax", val=0.5, ms=0.1),
        candidate("int8-entropy", val=0.895, ms=0.2),
    ]
    fixed = device(precision="int8")
    assert choose(rows, "box", fixed, ("float32", "int8"), "")[0] is rows[2]
    unmeasured, reason = choose(rows, "box", fixed, ("float32", "int8"), "it is offline.")
    assert unmeasured is rows[2]
    assert "it is offline" in reason


def test_a_fixed_precision_over_the_budget_delivers_its_most_accurate_variant():
    rows = [candidate("float32"), candidate("int8-minmax", 0.5), candidate("int8-entropy", 0.6)]
    chosen, reason = choose(rows, "box", device(precision="int8"), ("float32", "int8"), "away.")
    assert chosen is rows[2]
    assert "smallest loss of validation accuracy" in reason
    assert "int8-entropy loses 0.3000" in reason


def test_an_unmeasured_default_precision_uses_its_most_accurate_method():
    rows = [candidate("float32"), candidate("int8-minmax", 0.895), candidate("int8-entropy", 0.899)]
    chosen, _ = choose(rows, "box", device(), ("int8", "float16"), "it is emulated.")
    assert chosen.name == "int8-entropy"


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
