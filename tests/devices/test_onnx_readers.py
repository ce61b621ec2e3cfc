"""ONNX files converted to PyTorch and LiteRT give the outputs of ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional

from devices.device import DeviceError
from devices.quantize.static import quantize_static, to_float16
from devices.runtimes.litert.convert import LAYERS as LITERT_LAYERS
from devices.runtimes.litert.convert import to_litert
from devices.runtimes.onnx_graph import read_graph
from devices.runtimes.onnx_torch import LAYERS as TORCH_LAYERS
from devices.runtimes.onnx_torch import to_torch
from devices.runtimes.registry import backend
from models.nets.onnx_export import to_onnx

SHAPE_1CHW = (1, 4, 6, 6)


class Layer(nn.Module):
    """An expression after a convolution."""

    def __init__(self, expression: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, 2, 1, groups=4)
        self.expression = expression

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.expression(self.first(x_NCHW)).flatten(1)


LAYERS: dict[str, Callable[[Tensor], Tensor]] = {
    "Add": lambda x: x + 2 * x,
    "Clip": functional.relu6,
    "Concat": lambda x: torch.cat((x, x * 2, x), 1),
    "Flatten": lambda x: x,
    "Gemm": lambda x: functional.linear(
        x.mean((2, 3)), torch.arange(12.0).reshape(3, 4), torch.ones(3)
    ),
    "GlobalAveragePool": lambda x: functional.adaptive_avg_pool2d(x, 1),
    "HardSigmoid": functional.hardsigmoid,
    "HardSwish": functional.hardswish,
    "Mul": lambda x: x * x.mean((2, 3), keepdim=True),
    "ReduceMean": lambda x: x.mean((2, 3)),
    "Relu": functional.relu,
    "Reshape": lambda x: x.reshape(1, 2, 2, 9).transpose(1, 2).reshape(1, 4, 9),
    "Resize": lambda x: functional.interpolate(x, (5, 7), mode="bilinear", align_corners=False),
    "Sigmoid": torch.sigmoid,
    "Slice": lambda x: x[:, 1::2, -2:],
    "Softmax": lambda x: torch.stack((x, 2 * x), -1).softmax(-1),
    "Split": lambda x: x.split((1, 3), 1)[1],
    "Squeeze": lambda x: x[:, :1].squeeze(1),
    "Transpose": lambda x: x.permute(0, 2, 3, 1),
    "Unsqueeze": lambda x: x.unsqueeze(-1),
}


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=SHAPE_1CHW).astype(np.float32) for _ in range(count)]


def in_torch(file: Path, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return to_torch(file)(torch.from_numpy(image)).numpy()


def in_litert(file: Path, image: np.ndarray) -> np.ndarray:
    with backend("litert").open(file, 1) as session:
        found = session(image)
    return found.transpose(0, 3, 1, 2) if found.ndim == 4 else found


RUNS = {"PyTorch": in_torch, "LiteRT": in_litert}
Run = Callable[[Path, np.ndarray], np.ndarray]


@pytest.fixture(params=list(RUNS))
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "LiteRT" and not backend("litert").capabilities().can_run:
        pytest.skip(backend("litert").capabilities().reason)
    return RUNS[request.param]


def compare(run: Run, file: Path, tolerance: float) -> None:
    with backend("onnxruntime").open(file, 1) as session:
        for image in images(4):
            found, wanted = run(file, image), session(image)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * abs(wanted).max())


@pytest.mark.slow
@pytest.mark.parametrize("operator", list(LAYERS))
def test_a_layer_computes_the_same(operator: str, run: Run, tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "float32.onnx"
    file.write_bytes(to_onnx(Layer(LAYERS[operator]).eval(), SHAPE_1CHW[1:]))
    assert operator in {node.operator for node in read_graph(file).nodes}
    compare(run, file, 1e-5)
    quantize_static(file, tmp_path / "int8.onnx", images(8), "int8_asymmetric")
    compare(run, tmp_path / "int8.onnx", 0.03)


def test_every_layer_that_is_known_is_compared() -> None:
    elsewhere, scales = {"Conv", "Identity"}, {"DequantizeLinear", "QuantizeLinear"}
    assert TORCH_LAYERS.keys() == LAYERS.keys() | elsewhere | scales | {"Cast"}
    assert LITERT_LAYERS.keys() == LAYERS.keys() | elsewhere


def one_layer(tmp_path: Path, operator: str, **settings: object) -> Path:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE_1CHW)
        for name in ("images", "logits")
    ]
    node = helper.make_node(operator, ["images"], ["logits"], **settings)
    graph = helper.make_graph([node], "graph", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / f"{operator}.onnx")
    return tmp_path / f"{operator}.onnx"


def test_a_float16_file_is_read_with_its_weights_in_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (tmp_path / "float32.onnx").write_bytes(to_onnx(Layer(LAYERS["Gemm"]).eval(), SHAPE_1CHW[1:]))
    to_float16(tmp_path / "float32.onnx", tmp_path / "float16.onnx")
    module = to_torch(tmp_path / "float16.onnx")
    kinds = {buffer.dtype for buffer in module.buffers() if buffer.is_floating_point()}
    assert kinds == {torch.float32}
    compare(in_torch, tmp_path / "float16.onnx", 2e-3)


@pytest.mark.parametrize("stride", [1, 2])
def test_padding_on_one_side_only_is_kept(stride: int, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "float32.onnx"
    layer = nn.Sequential(nn.ZeroPad2d((0, 1, 1, 0)), nn.Conv2d(4, 2, 3, stride)).eval()
    file.write_bytes(to_onnx(layer, SHAPE_1CHW[1:]))
    model = onnx.load(file)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    del model.graph.node[:]
    conv.input[0] = "images"
    pads = next(a for a in conv.attribute if a.name == "pads")
    pads.ints[:] = [1, 0, 0, 1]
    model.graph.node.append(conv)
    onnx.save(model, file)
    compare(run, file, 1e-5)


def test_a_layer_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    for convert in (to_torch, to_litert):
        with pytest.raises(DeviceError, match=r"Erf\.onnx has layers .*: Erf\. Known: Add, "):
            convert(one_layer(tmp_path, "Erf"))


def test_a_layer_that_does_nothing_is_kept(run: Run, tmp_path: Path) -> None:
    file, (image,) = one_layer(tmp_path, "Identity"), images(1)
    np.testing.assert_array_equal(run(file, image), image)


def test_litert_has_a_softmax_over_its_last_axis_alone(tmp_path: Path) -> None:
    to_litert(one_layer(tmp_path, "Softmax", axis=1))  # the last axis in NHWC
    with pytest.raises(DeviceError, match="over the last axis"):
        to_litert(one_layer(tmp_path, "Softmax", axis=3))


def test_a_convolution_in_groups_is_refused_by_litert(tmp_path: Path) -> None:
    file = tmp_path / "groups.onnx"
    file.write_bytes(to_onnx(nn.Conv2d(4, 4, 3, groups=2).eval(), SHAPE_1CHW[1:]))
    with pytest.raises(DeviceError, match=r"groups\.onnx: a convolution in 2 groups"):
        to_litert(file)


def test_a_shape_that_is_not_fixed_is_refused_by_name(tmp_path: Path) -> None:
    model = onnx.load(one_layer(tmp_path, "Relu"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, tmp_path / "dynamic.onnx")
    with pytest.raises(DeviceError, match=r"dynamic\.onnx: 'images' has no fixed shape"):
        read_graph(tmp_path / "dynamic.onnx")


def test_a_shape_that_the_file_computes_is_known_all_the_same(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "float32.onnx"

    def halves(x_NCHW: Tensor) -> Tensor:
        first, second = x_NCHW.view(x_NCHW.shape[0], 2, -1).chunk(2, 1)
        return first * second.softmax(-1)

    file.write_bytes(to_onnx(Layer(halves).eval(), SHAPE_1CHW[1:]))
    assert "Shape" in {node.op_type for node in onnx.load(file).graph.node}
    compare(run, file, 1e-5)
