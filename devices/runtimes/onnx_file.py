"""What an ONNX file states: inputs, outputs, precision, types of its activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devices.device import Activations, DeviceError


def load_onnx(file: Path, weights: bool = True) -> Any:
    """Load an ONNX file; `weights`: also those that are stored in other files.

    Raises:
        DeviceError: it is not an ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(file, load_external_data=weights)
    except (DecodeError, OSError) as error:
        raise DeviceError(f"{file} is not a readable ONNX model: {error}") from error


def describe(onnx_model: Path) -> tuple[dict[str, Any], str]:
    """Inputs, outputs and opset of an ONNX file, and its precision.

    Raises:
        DeviceError: the file is not an ONNX model.
    """
    import onnx

    model = load_onnx(onnx_model)
    graph = model.graph
    weights = {weight.name: weight.data_type for weight in graph.initializer}
    precision = "float32"
    # Weight-only quantisation has no QuantizeLinear.
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node):
        precision = "int8"
    elif onnx.TensorProto.FLOAT16 in weights.values():
        precision = "float16"
    details = {
        "inputs": [_describe_value(v) for v in graph.input if v.name not in weights],
        "outputs": [_describe_value(v) for v in graph.output],
        "opset": max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
    }
    return details, precision


def _describe_value(value: Any) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [axis.dim_value for axis in tensor.shape.dim]
    return {"name": value.name, "shape": shape, "type": _type_name(tensor.elem_type)}


def _type_name(number: int) -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(number).lower())


def require_activations(onnx_model: Path, wanted: Activations) -> None:
    """Check that an int8 file has the quantisation scheme of the runtime.

    For runtimes that accept other schemes, but compute them wrongly.

    Raises:
        DeviceError: an activation has a zero point of another type.
    """
    graph = load_onnx(onnx_model).graph
    types = {weight.name: _type_name(weight.data_type) for weight in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    # Without a zero point the type is uint8, as ONNX defines QuantizeLinear.
    found = {types[node.input[2]] if len(node.input) > 2 else "uint8" for node in nodes}
    if found - {wanted.partition("_")[0]}:
        raise DeviceError(
            f"{onnx_model.name} has {' and '.join(sorted(found))} activations, but this runtime "
            f"needs {wanted}: quantise it for '{wanted}' with devices.quantize.static."
        )
