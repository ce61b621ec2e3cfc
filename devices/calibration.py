"""Ranges of a network's activations, observed on images: what static quantisation needs.

One pass over the images collects a histogram per tensor, in ONNX Runtime's own collector; every
method reads its ranges from there.

- `minmax`: the smallest and the largest value. Nothing is clipped, and one outlier makes every
  step of the scale wider.
- `percentile`: all but the outermost values, half of them at each end.
- `entropy`: the range that loses least information (Kullback-Leibler divergence between the
  histogram and its quantised form; Migacz, 8-bit inference with TensorRT, GTC 2017).

Axes: N images (1 here), C channels, H height, W width.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from devices.agent.onnx_session import session_options

Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
Images = npt.NDArray[np.float32]
Range = tuple[np.float32, np.float32]
"""Smallest and largest value that is told from others."""

HISTOGRAM_BINS = 512
QUANTIZED_BINS = 128
"""Of `entropy`. It tries ranges of `QUANTIZED_BINS` bins and more: with as many bins as quantised
ones, which is ONNX Runtime's default, the only range left to try is the whole one, min-max."""
_IMAGES_AT_ONCE = 32
_ABSORBED = ("Relu", "Clip")


class CalibrationError(ValueError):
    """Images from which no range can be read; the message says why."""


def observe(
    model: Path,
    images: Iterable[Images],
    methods: Sequence[Method],
    percentile: float,
) -> dict[Method, dict[str, Range]]:
    """The range of every tensor that is quantised, by method.

    The images are run on one thread, or sums would depend on the number of the machine's cores.

    Args:
        model: a float32 ONNX file of one input, with batch norms folded and shapes inferred.
        images: normalised, each (1, C, H, W).
        methods: which to compute.
        percentile: share of all values, in per cent, that the range of `percentile` holds.

    Raises:
        CalibrationError: there is no image.
    """
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector(
        "entropy", False, HISTOGRAM_BINS, QUANTIZED_BINS, percentile, "same"
    )
    session, wanted, shared = _session(model)
    names = [output.name for output in session.get_outputs()]
    source, pending = session.get_inputs()[0].name, iter(images)
    while some := list(islice(pending, _IMAGES_AT_ONCE)):
        rows = [session.run(None, {source: image_1CHW}) for image_1CHW in some]
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        collector.collect_value({name: columns[name] for name in wanted})
    if not collector.histogram_dict:
        raise CalibrationError("static quantisation needs at least one calibration image.")
    found = {method: _ranges(collector, method) for method in methods}
    for ranges in found.values():
        ranges |= {name: ranges[activation] for name, activation in shared.items()}
    return found


def _ranges(collector: Any, method: Method) -> dict[str, Range]:
    """What a method reads from the histograms; never wider than what was seen."""
    if method == "minmax":
        return {name: (row[2], row[3]) for name, row in collector.histogram_dict.items()}
    compute = {"percentile": collector.compute_percentile, "entropy": collector.compute_entropy}
    with contextlib.redirect_stdout(io.StringIO()):
        found: Mapping[str, Any] = compute[method]()
    return {name: (np.float32(row[0]), np.float32(row[1])) for name, row in found.items()}


def _session(model: Path) -> tuple[Any, list[str], dict[str, str]]:
    """The network with all its tensors as outputs, which to look at, and `_absorbed` ones."""
    import onnxruntime
    from onnxruntime.quantization.calibrate import HistogramCalibrater

    augmented = model.with_name("augmented.onnx")
    calibrator = HistogramCalibrater(model, augmented_model_path=str(augmented))
    calibrator.augment_graph()
    options = session_options(1)
    # As the calibrator's own session: optimised graphs lack tensors whose ranges are wanted.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        str(augmented), options, providers=["CPUExecutionProvider"]
    )
    wanted, shared = set(calibrator.tensors_to_calibrate), _absorbed(calibrator.model.graph)
    shared = {name: output for name, output in shared.items() if {name, output} <= wanted}
    return session, sorted(wanted - shared.keys()), shared


def _absorbed(graph: Any) -> dict[str, str]:
    """Tensors that only an activation function reads, with its output, whose range they get.

    So ONNX Runtime's quantiser has it: what the function cuts off needs no code.
    """
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return {
        name: nodes[0].output[0]
        for name, nodes in readers.items()
        if len(nodes) == 1 and nodes[0].op_type in _ABSORBED and name == nodes[0].input[0]
    }
