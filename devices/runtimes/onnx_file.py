"""What an ONNX file states: inputs, outputs, precision, types of its activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devices.device import Activations, DeviceError


def load_onnx(file: Path, weights: bool = True) -> Any:
    """Load an ONNX file.

    Args:
        file: the file.
        weights: whether to load weights that are stored in other files.

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
    weights = {weight.name for weight in graph.initializer}
    kinds = {weight.data_type for weight in graph.initializer}
    precision = "float32"
    # Weight-only quantisation has no QuantizeLinear.
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node):
        precision = "int8"
    elif onnx.TensorProto.FLOAT16 in kinds:
        precision = "float16"
    details = {
        "inputs": [_describe_value(v) for v in graph.input if v.name not in weights],
        "outputs": [_describe_value(v) for v in graph.output],
        "opset": max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
    }
    return details, precision


def require_activations(onnx_model: Path, wanted: Activations) -> None:
    """Check that an int8 file has the quantisation scheme of the runtime.

    For runtimes that accept other schemes, but compute them wrongly.

    Args:
        onnx_model: a file in Q/DQ format.
        wanted: the scheme, see devices.quantize.static.

    Raises:
        DeviceError: an activation has a zero point of another type.
    """
    found = activation_types(onnx_model)
    if found - {wanted.partition("_")[0]}:
        raise DeviceError(
            f"{onnx_model.name} has {' and '.join(sorted(found))} activations, but this runtime "
            f"needs {wanted}: quantise it for '{wanted}' with devices.quantize.static."
        )


def activation_types(onnx_model: Path) -> set[str]:
    """Zero point types of a file's activations, such as `uint8`."""
    import onnx

    graph = load_onnx(onnx_model).graph
    kinds = {weight.name: weight.data_type for weight in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    # Without a zero point the type is uint8, as ONNX defines QuantizeLinear.
    types = {kinds[n.input[2]] if len(n.input) > 2 else onnx.TensorProto.UINT8 for n in nodes}
    return {onnx.TensorProto.DataType.Name(kind).lower() for kind in types}


def _describe_value(value: Any) -> dict[str, Any]:
    import onnx

    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "shape": [axis.dim_value for axis in tensor.shape.dim],
        "type": onnx.TensorProto.DataType.Name(tensor.elem_type).lower(),
    }
