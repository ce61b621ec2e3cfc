"""Wrong networks, and whether golden outputs detect them.

Axes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from bundles.archive import BundleError
from bundles.golden import Golden, difference_of


def perturbed(model: bytes, share: float) -> Iterator[bytes]:
    """The network with Gaussian noise in the weights of one layer, for each of its layers.

    Args:
        model: an ONNX file, in float or in Q/DQ form.
        share: standard deviation of the noise, of the layer's largest weight.
    """
    content, rng = onnx.load_from_string(model), np.random.default_rng(0)
    constants = {c.name: c for c in content.graph.initializer}
    sources = {n.output[0]: n.input[0] for n in content.graph.node if n.op_type.startswith("Deq")}
    for node in content.graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        name = sources.get(node.input[1], node.input[1])
        before = numpy_helper.to_array(constants[name])
        noisy = before + share * np.abs(before).max() * rng.standard_normal(before.shape)
        if before.dtype == np.int8:
            noisy = np.clip(np.rint(noisy), -127, 127)
        constants[name].CopyFrom(numpy_helper.from_array(noisy.astype(before.dtype), name))
        yield content.SerializeToString()
        constants[name].CopyFrom(numpy_helper.from_array(before, name))


def refused(outputs_NK: Any, golden: Golden) -> bool:
    """Whether outputs are too far from the golden ones."""
    try:
        difference_of(Path("network"), outputs_NK, golden, "ONNX Runtime")
    except BundleError:
        return True
    return False
