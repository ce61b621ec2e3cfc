"""TensorRT specifics: GPU generations, and errors that are only logged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from devices.device import Budget, Device, DeviceError
from devices.quantize.static import quantize_static
from devices.runtimes.registry import backend
from devices.runtimes.session import SessionError
from devices.runtimes.tensorrt.backend import provider_for
from devices.runtimes.tensorrt.session import RTX, gpu_capability, input_and_output
from models.nets.onnx_export import to_onnx


def gpu(*capabilities: str, precision: str = "auto") -> Device:
    return Device(
        backend="tensorrt",
        budget=Budget(flops=1),
        min_accuracy=0,
        compute_capabilities=capabilities,
        precision=precision,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("model") / "float32.onnx"
    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))
    file.write_bytes(to_onnx(layers, (1, 8, 8)))
    return file


def test_generations_that_cannot_be_built_for_are_named_beside_the_known_ones() -> None:
    with pytest.raises(DeviceError, match=r"SM87, RTX4090. Known: SM75, .*SM89.*regular TensorRT"):
        backend("tensorrt").check(gpu("SM89", "SM87", "RTX4090"))
    with pytest.raises(DeviceError, match="remove duplicates"):
        backend("tensorrt").check(gpu("SM89", "SM89"))


def test_turing_is_refused_unless_the_model_is_float16() -> None:
    with pytest.raises(DeviceError, match="SM75 has no float32 matrix product"):
        backend("tensorrt").check(gpu("SM75", "SM89"))
    backend("tensorrt").check(gpu("SM75", "SM89", precision="float16"))


def test_one_engine_serves_several_generations(model: Path, tmp_path: Path) -> None:
    wanted = ["SM86", "SM89", "SM120"]
    built = backend("tensorrt").build(model, "float32", tmp_path, gpu(*wanted))
    assert built.details["compute_capabilities"] == wanted
    assert built.details["layers"]["MATRIX_MULTIPLY"] == 1
    assert (tmp_path / "model.onnx").read_bytes() == model.read_bytes()
    assert built.details["not_reproducible"] == ["model.engine"]


def test_the_runtimes_own_error_is_in_the_message(model: Path, tmp_path: Path) -> None:
    unsigned = tmp_path / "uint8.onnx"
    quantize_static(model, unsigned, [np.ones((1, 1, 8, 8), np.float32)], "uint8")
    with pytest.raises(DeviceError, match=r"cannot read uint8\.onnx: .*DequantizeLinear"):
        backend("tensorrt").build(unsigned, "int8", tmp_path, gpu("SM89"))


def test_without_a_gpu_nothing_is_measured_and_rtx_builds() -> None:
    if gpu_capability() is not None:
        pytest.skip("this machine has a GPU")
    assert "No NVIDIA GPU" in backend("tensorrt").why_not_measured(gpu("SM89"))
    assert provider_for(("SM89",)) == RTX


class Engine:
    """A mocked engine with tensor names and modes; a real one needs a GPU."""

    def __init__(self, tensors: dict[str, object]) -> None:
        self.tensors, self.num_io_tensors = tensors, len(tensors)

    def get_tensor_name(self, number: int) -> str:
        return list(self.tensors)[number]

    def get_tensor_mode(self, name: str) -> object:
        return self.tensors[name]


def test_input_and_output_are_identified_by_mode_in_any_order() -> None:
    import tensorrt_rtx as trt

    into, out = trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT
    assert input_and_output(trt, Engine({"images": into, "logits": out})) == ("images", "logits")
    assert input_and_output(trt, Engine({"logits": out, "images": into})) == ("images", "logits")
    with pytest.raises(SessionError, match="one input and one output"):
        input_and_output(trt, Engine({"a": into, "b": into, "logits": out}))
