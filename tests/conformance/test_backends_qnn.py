"""QNN specifics: DSP generations, the emulator, and invalid files that it accepts."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from devices.device import Budget, Device, DeviceError
from devices.quantize.static import quantize_static, to_float16
from devices.runtimes.qnn.backend import ARCHITECTURES
from devices.runtimes.registry import backend
from models.nets.onnx_export import to_onnx

pytest.importorskip("onnxruntime_qnn", reason="pip install onnxruntime-qnn")
SHAPE_1CHW = (1, 1, 8, 8)


def dsp(*architectures: str, precision: str = "auto") -> Device:
    return Device(
        backend="qnn",
        budget=Budget(flops=1),
        min_accuracy=0,
        dsp_architectures=architectures,
        precision=precision,
    )


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=SHAPE_1CHW).astype(np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 5)
    )
    (folder / "float32.onnx").write_bytes(to_onnx(layers, SHAPE_1CHW[1:]))
    to_float16(folder / "float32.onnx", folder / "float16.onnx")
    for family in ("uint8", "int8"):
        quantize_static(folder / "float32.onnx", folder / f"{family}.onnx", images(8), family)
    return folder


def test_every_generation_has_its_own_binary_with_equal_outputs(
    models: Path, tmp_path: Path
) -> None:
    built = backend("qnn").build(models / "uint8.onnx", "int8", tmp_path, dsp(*ARCHITECTURES[::-1]))
    assert list(built.details["entries"]) == list(ARCHITECTURES)
    assert built.entry == "model_v68.onnx"
    binaries = [f"model_{name}_qnn.bin" for name in ARCHITECTURES]
    assert built.details["not_reproducible"] == binaries
    soc_of = {"v68": b"SM8350", "v73": b"SM8550", "v75": b"SM8650", "v81": b"SM8850"}
    for architecture, binary in zip(ARCHITECTURES, binaries, strict=True):
        found = [name for name, soc in soc_of.items() if soc in (tmp_path / binary).read_bytes()]
        assert found == [architecture]
    with backend("onnxruntime").open(models / "uint8.onnx", 1) as session:
        wanted = [session(image) for image in images(4)]
    for entry in built.details["entries"].values():
        with backend("qnn").open(tmp_path / entry, 1) as session:
            for image, logits_1K in zip(images(4), wanted, strict=True):
                np.testing.assert_allclose(session(image), logits_1K, atol=0.05)


def test_generations_are_known_and_unique() -> None:
    with pytest.raises(
        DeviceError, match=r"cannot build for v99, SM89\. Known: v68, v73, v75, v81"
    ):
        backend("qnn").check(dsp("v73", "v99", "SM89"))
    with pytest.raises(DeviceError, match="remove duplicates"):
        backend("qnn").check(dsp("v73", "v73"))


def test_a_binary_for_another_generation_is_refused(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # QNN builds for its oldest generation if it does not know the number.
    monkeypatch.setattr("devices.runtimes.qnn.backend.ARCHITECTURES", ("v99",))
    with pytest.raises(DeviceError, match=r"compiled uint8\.onnx for another DSP than v99"):
        backend("qnn").build(models / "uint8.onnx", "int8", tmp_path, dsp("v99"))
    assert not list(tmp_path.iterdir())


def test_the_oldest_generation_has_no_float16(models: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="v68 has no float16"):
        backend("qnn").check(dsp("v68", "v73", precision="float16"))
    with pytest.raises(DeviceError, match="v68 has no float16"):
        backend("qnn").build(models / "float16.onnx", "float16", tmp_path, dsp("v68"))
    backend("qnn").check(dsp("v73", precision="float16"))


def test_signed_activations_are_refused_because_they_would_build(
    models: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match="int8 activations, but this runtime needs uint8"):
        backend("qnn").build(models / "int8.onnx", "int8", tmp_path, dsp("v73"))
    with pytest.raises(DeviceError, match="int8 activations"):
        backend("qnn").open(models / "int8.onnx", 1)
    assert not list(tmp_path.iterdir())


def test_float32_never_replaces_float16(models: Path) -> None:
    with pytest.raises(DeviceError, match="float32 model, which a Hexagon DSP does not"):
        backend("qnn").open(models / "float32.onnx", 1)
    with pytest.raises(DeviceError, match=r"not support 'float32' \(use auto, int8, float16\)"):
        backend("qnn").check(dsp("v73", precision="float32"))


def test_a_layer_unsupported_by_the_dsp_is_an_error_without_cpu_fallback(
    tmp_path: Path,
) -> None:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT16, (1, 4, 4))
        for name in ("images", "logits")
    ]
    weight = helper.make_tensor("one", TensorProto.FLOAT16, [1], [1.0])
    nodes = [
        helper.make_node("Add", ["images", "one"], ["sum"]),
        helper.make_node("Trilu", ["sum"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "trilu", values[:1], values[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "trilu.onnx")
    with backend("onnxruntime").open(tmp_path / "trilu.onnx", 1):
        pass
    with pytest.raises(DeviceError, match=r"QNN cannot load .*trilu\.onnx"):
        backend("qnn").build(tmp_path / "trilu.onnx", "float16", tmp_path, dsp("v73"))


def test_an_axis_that_is_not_fixed_is_refused_by_name(models: Path, tmp_path: Path) -> None:
    model = onnx.load(models / "float16.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, tmp_path / "dynamic.onnx")
    with pytest.raises(
        DeviceError, match=r"dynamic\.onnx: input 'images' has shape \[0, 1, 8, 8\]"
    ):
        backend("qnn").build(tmp_path / "dynamic.onnx", "float16", tmp_path, dsp("v73"))
