"""An ONNX classifier provided by a user."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def onnx_file(
    folder: Path, shape: tuple[Any, ...] = ("n", 1, 8, 8), classes: int = 10, last: str = ""
) -> Path:
    """Write a linear classifier with random weights."""
    rng = np.random.default_rng(0)
    pixels = shape[-1] * shape[-2] if len(shape) == 4 else 64
    weights = numpy_helper.from_array(rng.normal(size=(pixels, classes)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y" if not last else "h"]),
    ]
    if last:
        nodes.append(helper.make_node(last, ["h"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (shape[0], classes))],
        [weights],
    )
    file = folder / "teacher.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), file)
    return file
