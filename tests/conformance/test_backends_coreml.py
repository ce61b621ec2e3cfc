"""Core ML specifics: packages, float16, weight-only quantisation."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from devices.device import Budget, Device, DeviceError
from devices.quantize.static import quantize_static, to_float16
from devices.runtimes.coreml.backend import _convert
from devices.runtimes.registry import backend
from models.nets.onnx_export import to_onnx

pytestmark = pytest.mark.slow
pytest.importorskip("coremltools", reason="pip install coremltools")
SHAPE_CHW = (1, 8, 8)
APPLE = Device(backend="coreml", budget=Budget(flops=1), min_accuracy=0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(576, 5)
    )
    (folder / "float32.onnx").write_bytes(to_onnx(layers, SHAPE_CHW))
    to_float16(folder / "float32.onnx", folder / "float16.onnx")
    quantize_static(folder / "float32.onnx", folder / "int8.onnx", [], "weights_only")
    return folder


def packed(models: Path, precision: str, folder: Path) -> dict[str, bytes]:
    built = backend("coreml").build(models / f"{precision}.onnx", precision, folder, APPLE)
    assert built.files == ("model.mlpackage.zip",)
    with zipfile.ZipFile(io.BytesIO((folder / built.entry).read_bytes())) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_a_package_is_the_same_in_every_process_and_on_every_day(
    models: Path, tmp_path: Path
) -> None:
    from coremltools.proto import Model_pb2

    files = packed(models, "float32", tmp_path)
    stored = files["model.mlpackage/Data/com.apple.CoreML/model.mlmodel"]
    model = Model_pb2.Model.FromString(stored)
    # Maps in another order have other bytes.
    assert stored == model.SerializeToString(deterministic=True)
    assert not [key for key in model.description.metadata.userDefined if "date" in key]
    manifest = json.loads(files["model.mlpackage/Manifest.json"])
    items = manifest["itemInfoEntries"]
    assert manifest["rootModelIdentifier"] in items
    paths = [f"model.mlpackage/Data/{item['path']}" for item in items.values()]
    assert all(any(name.startswith(path) for name in files) for path in paths)


def test_lower_precisions_make_the_weights_smaller(models: Path, tmp_path: Path) -> None:
    sizes = {}
    for precision in ("float32", "float16", "int8"):
        (tmp_path / precision).mkdir()
        files = packed(models, precision, tmp_path / precision)
        sizes[precision] = len(files["model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"])
    assert sizes["float16"] < 0.6 * sizes["float32"]
    assert sizes["int8"] < 0.4 * sizes["float32"]


def test_integer_weights_are_exactly_those_of_the_onnx_file(models: Path) -> None:
    graph = onnx.load(models / "int8.onnx").graph
    wanted = [onnx.numpy_helper.to_array(w) for w in graph.initializer]
    wanted = [w for w in wanted if w.dtype == np.int8 and w.ndim > 1]
    model, layers = _convert(models / "int8.onnx", "int8")
    operations = model._mil_program.functions["main"].operations
    found = [op.quantized_data.val for op in operations if op.op_type.startswith("constexpr")]
    assert len(found) == len(wanted) == layers["constexpr_affine_dequantize"] == 2
    for integers in wanted:
        assert any(np.array_equal(integers, other) for other in found)


def test_quantised_activations_are_refused(models: Path, tmp_path: Path) -> None:
    images = [np.ones((1, *SHAPE_CHW), np.float32)]
    quantize_static(models / "float32.onnx", tmp_path / "uint8.onnx", images, "uint8")
    with pytest.raises(DeviceError, match="uint8 activations, but this runtime needs weights_only"):
        backend("coreml").build(tmp_path / "uint8.onnx", "int8", tmp_path, APPLE)
