from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from core.errors import UserError
from devices.quantize.static import quantize_static, to_float16
from devices.runtimes.registry import backend


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(1, 1, 8, 8)).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("family", ["uint8", "int8"])
def test_equal_inputs_give_equal_bytes_and_leave_no_other_file(
    small: Path, tmp_path: Path, family: str
) -> None:
    outs = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for out in outs:
        quantize_static(small, out, images(4), family)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == outs


def test_calibration_runs_on_one_thread_so_that_cores_do_not_matter(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []

    class Session(onnxruntime.InferenceSession):
        def run(self, *arguments, **options):
            used.append(self.get_session_options().intra_op_num_threads)
            return super().run(*arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    quantize_static(small, tmp_path / "q.onnx", images(4), "uint8")
    assert used == [1] * 4


@pytest.mark.parametrize("family", ["uint8", "int8"])
def test_activations_have_the_familys_type_and_weights_a_scale_per_channel(
    small: Path, tmp_path: Path, family: str
) -> None:
    quantize_static(small, tmp_path / "q.onnx", images(4), family)
    graph = onnx.load(tmp_path / "q.onnx").graph
    values = {w.name: onnx.numpy_helper.to_array(w) for w in graph.initializer}
    quantizers = [n for n in graph.node if n.op_type == "QuantizeLinear"]
    assert quantizers
    for node in quantizers:
        zero_point = values[node.input[2]]
        assert zero_point.dtype == family
        assert family == "uint8" or not zero_point.any()
    weights = [v for v in values.values() if v.dtype == np.int8 and v.ndim == 4]
    scales = {v.size for name, v in values.items() if name.endswith("_scale")}
    assert weights
    assert 16 in scales


def test_weights_alone_are_integers_per_output_channel_and_need_no_image(
    small: Path, tmp_path: Path
) -> None:
    for name in ("a.onnx", "b.onnx"):
        quantize_static(small, tmp_path / name, [], "weights_only")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    before, after = (onnx.load(file).graph for file in (small, tmp_path / "a.onnx"))
    was = {w.name: onnx.numpy_helper.to_array(w) for w in before.initializer}
    now = {w.name: onnx.numpy_helper.to_array(w) for w in after.initializer}
    nodes = [node for node in after.node if node.op_type == "DequantizeLinear"]
    assert len(nodes) == sum(node.op_type in ("Conv", "Gemm") for node in before.node)
    for node in nodes:
        integers, scales, zero_points = (now[name] for name in node.input)
        assert integers.dtype == np.int8
        assert np.abs(integers).reshape(len(integers), -1).max(1).tolist() == [127] * len(integers)
        assert not zero_points.any()
        shape = (-1, *[1] * (integers.ndim - 1))
        error = np.abs(
            integers * scales.reshape(shape) - was[node.output[0].removesuffix("_float")]
        )
        assert (error <= 0.5001 * scales.reshape(shape)).all()
    assert not any(node.op_type == "QuantizeLinear" for node in after.node)
    assert not any(f"{node.output[0].removesuffix('_float')}" in now for node in nodes)


def test_signed_symmetric_quantisation_keeps_biases_in_float(small: Path, tmp_path: Path) -> None:
    quantize_static(small, tmp_path / "q.onnx", images(4), "int8")
    kinds = {w.data_type for w in onnx.load(tmp_path / "q.onnx").graph.initializer}
    assert onnx.TensorProto.INT32 not in kinds


def test_lower_precisions_compute_nearly_the_same(small: Path, tmp_path: Path) -> None:
    quantize_static(small, tmp_path / "int8.onnx", images(16), "uint8")
    to_float16(small, tmp_path / "half.onnx")
    runtime = backend("onnxruntime")
    with runtime.open(small, 1) as session:
        wanted = np.concatenate([session(image) for image in images(16)])
    for name, tolerance in (("int8", 0.1), ("half", 0.01)):
        with runtime.open(tmp_path / f"{name}.onnx", 1) as session:
            found = np.concatenate([session(image) for image in images(16)])
        assert found.dtype == np.float32
        assert np.abs(found - wanted).max() < tolerance * np.abs(wanted).max()


def test_no_calibration_image_is_an_error_and_writes_nothing(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one calibration image"):
        quantize_static(small, tmp_path / "q.onnx", [], "uint8")
    assert not list(tmp_path.iterdir())
