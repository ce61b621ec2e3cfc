"""ExecuTorch specifics: 8-bit layers that XNNPACK accepts but cannot run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from devices.device import Budget, Device, DeviceError
from devices.quantize.static import quantize_static
from devices.runtimes.onnx_torch import LAYERS
from devices.runtimes.registry import backend
from models.nets.onnx_export import to_onnx

pytestmark = pytest.mark.slow
pytest.importorskip("executorch", reason="pip install executorch")
SHAPE_1CHW = (1, 2, 6, 6)
PHONE = Device(backend="executorch", budget=Budget(flops=1), min_accuracy=0)


class Joined(nn.Module):
    """Concatenation of two feature maps with very different ranges."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 4, 3), nn.Conv2d(2, 4, 3)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.cat((10 * self.one(x_NCHW), self.two(x_NCHW)), 1).mean((2, 3))


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=SHAPE_1CHW).astype(np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    (folder / "float32.onnx").write_bytes(to_onnx(Joined().eval(), SHAPE_1CHW[1:]))
    quantize_static(
        folder / "float32.onnx", folder / "int8.onnx", images(8), backend("executorch").activations
    )
    return folder / "int8.onnx"


def test_maps_of_different_scales_are_joined_in_eight_bits(quantised: Path, tmp_path: Path) -> None:
    runtime = backend("executorch")
    built = runtime.build(quantised, "int8", tmp_path, PHONE)
    with (
        backend("onnxruntime").open(quantised, 1) as expected,
        runtime.open(tmp_path / built.entry, 1) as delivered,
    ):
        for image in images(4):
            wanted = expected(image)
            np.testing.assert_allclose(delivered(image), wanted, atol=0.02 * np.abs(wanted).max())


def test_a_program_that_cannot_be_run_is_never_delivered(
    quantised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(call) -> Tensor:
        tensors = [call.tensor(index) for index in range(len(call.node.inputs))]
        return torch.cat(tensors, call.setting("axis"))

    monkeypatch.setitem(LAYERS, "Concat", careless)
    with pytest.raises(DeviceError, match="ExecuTorch cannot run the model"):
        backend("executorch").build(quantised, "int8", tmp_path, PHONE)
    assert not list(tmp_path.iterdir())
