import pytest

from core.files import read_json
from devices.measure.target import LocalTarget
from models.nets.equivalence import EquivalenceError


def exported(world, device):
    return read_json(world.root / "export" / device / "export.json", "netwright/export/1")


def chosen(world, device):
    found = read_json(world.root / "quantize" / device / "quantize.json", "netwright/quantize/1")
    assert found["chosen"] == "int8"
    return f"{found['name']} ONNX"


def test_the_delivered_file_is_compared_on_real_images_and_measured(world, bundles):
    found = exported(world, "edge")
    assert (found["precision"], found["entry"]) == ("int8", "model.xml")
    assert found["files"] == ["model.xml", "model.bin"]
    assert found["interval"][0] <= found["measured_ms"] <= found["interval"][1]
    assert found["measured_ms"] > 0
    assert found["why_not_measured"] is None
    assert found["machine"]["runtime"] == "OpenVINO"
    (hop,) = found["hops"]
    assert (hop["from"], hop["to"]) == (chosen(world, "edge"), "delivered file in OpenVINO")
    assert hop["passed"]
    assert hop["images"] == 197


def test_a_device_that_is_not_here_is_built_but_neither_measured_nor_compared(world, bundles):
    found = exported(world, "gpu")
    assert found["measured_ms"] is found["accuracy"] is found["machine"] is None
    assert "GPU" in found["why_not_measured"]
    (hop,) = found["hops"]
    assert hop["passed"] is hop["max_difference"] is None
    assert "GPU" in hop["why_not_measured"]
    assert set(found["files"]) == {"model.engine", "model.onnx"}
    assert (world.root / "export" / "gpu" / "model.engine").stat().st_size > 1000


def test_an_emulated_device_is_compared_on_some_images_and_never_measured(world, bundles):
    found = exported(world, "dsp")
    assert found["emulated"]
    assert found["precision"] == "int8"
    assert found["measured_ms"] is found["spread"] is found["accuracy"] is None
    assert found["interval"] is None
    assert "emulated" in found["why_not_measured"]
    (hop,) = found["hops"]
    assert (hop["from"], hop["to"]) == (chosen(world, "dsp"), "delivered file in QNN")
    assert hop["images"] == 40
    assert hop["passed"]


def test_a_delivered_file_that_is_another_network_fails_the_stage_and_the_check_is_named(
    world, bundles, monkeypatch, tmp_path
):
    original = LocalTarget.outputs
    monkeypatch.setattr(LocalTarget, "outputs", lambda *given: original(*given)[::-1])
    with pytest.raises(EquivalenceError, match=r"int8-\w+ ONNX to delivered file in OpenVINO"):
        world.export("edge", tmp_path / "out")
