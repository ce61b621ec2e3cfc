"""Activation ranges for static quantisation, from calibration images.

One pass over the images collects a histogram per tensor, with ONNX Runtime's collector; all
methods compute their ranges from the histograms.

- `minmax`: the smallest and the largest value. No clipping, but sensitive to outliers.
- `percentile`: clips the outermost values, half of them at each end.
- `entropy`: minimises the Kullback-Leibler divergence between the histogram and its quantised
  version (Migacz, 8-bit inference with TensorRT, GTC 2017).

Axes: N images (1), C channels, H height, W width.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from data.dataset import DatasetInfo, Split
from data.stream import normalise
from devices.runtimes.onnxruntime.session import open_onnx, session_options

Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
Images = npt.NDArray[np.float32]
Range = tuple[np.float32, np.float32]
"""Smallest and largest value that is not clipped."""

HISTOGRAM_BINS = 512
QUANTIZED_BINS = 128
"""For `entropy`, which tries all ranges of at least `QUANTIZED_BINS` bins. ONNX Runtime's default
of equally many histogram bins only leaves the full range, as `minmax`."""
_IMAGES_AT_ONCE = 32
_ABSORBED = ("Relu", "Clip")


def calibration_images(
    split: Split, info: DatasetInfo, count: int, rng: np.random.Generator
) -> Iterator[Images]:
    """Yield `count` random training images (or all if fewer), normalised, each (1, C, H, W)."""
    chosen = np.sort(rng.permutation(len(split))[:count])
    images_NCHW = normalise(np.asarray(split.images_NHWC[chosen]), info)
    yield from np.ascontiguousarray(images_NCHW.numpy())[:, np.newaxis]


def observe(
    model: Path,
    images: Iterable[Images],
    methods: Sequence[Method],
    percentile: float,
) -> dict[Method, dict[str, Range]]:
    """Compute the range of every quantised tensor, by method, from images of (1, C, H, W).

    The float32 model has one input, folded batch norms and inferred shapes. Runs on one thread,
    because sums depend on the number of threads.

    Raises:
        UserError: there is no image.
    """
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector(
        "entropy", False, HISTOGRAM_BINS, QUANTIZED_BINS, percentile, "same"
    )
    session, wanted, shared = _open_with_all_outputs(model)
    names = [output.name for output in session.get_outputs()]
    source, pending = session.get_inputs()[0].name, iter(images)
    while some := list(islice(pending, _IMAGES_AT_ONCE)):
        rows = [session.run(None, {source: image_1CHW}) for image_1CHW in some]
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        collector.collect_value({name: columns[name] for name in wanted})
    if not collector.histogram_dict:
        raise UserError("static quantisation needs at least one calibration image.")
    found = {method: _ranges(collector, method) for method in methods}
    for ranges in found.values():
        ranges |= {name: ranges[activation] for name, activation in shared.items()}
    return found


def _ranges(collector: Any, method: Method) -> dict[str, Range]:
    """Compute the ranges of one method from the histograms."""
    if method == "minmax":
        return {name: (row[2], row[3]) for name, row in collector.histogram_dict.items()}
    compute = {"percentile": collector.compute_percentile, "entropy": collector.compute_entropy}
    with contextlib.redirect_stdout(io.StringIO()):
        found: Mapping[str, Any] = compute[method]()
    return {name: (np.float32(row[0]), np.float32(row[1])) for name, row in found.items()}


def _open_with_all_outputs(model: Path) -> tuple[Any, list[str], dict[str, str]]:
    """A session with all tensors as outputs, the tensors to calibrate, and `_absorbed` ones."""
    import onnxruntime
    from onnxruntime.quantization.calibrate import HistogramCalibrater

    augmented = model.with_name("augmented.onnx")
    calibrator = HistogramCalibrater(model, augmented_model_path=str(augmented))
    calibrator.augment_graph()
    options = session_options(1)
    # Graph optimisation would remove tensors that need a range.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_onnx(augmented, options)
    wanted, shared = set(calibrator.tensors_to_calibrate), _absorbed(calibrator.model.graph)
    shared = {name: output for name, output in shared.items() if {name, output} <= wanted}
    return session, sorted(wanted - shared.keys()), shared


def _absorbed(graph: Any) -> dict[str, str]:
    """Tensors read only by an activation function, with its output, whose range they share.

    As in ONNX Runtime's quantiser: values that the function clips need no codes.
    """
    return {
        name: nodes[0].output[0]
        for name, nodes in readers_of(graph).items()
        if len(nodes) == 1 and nodes[0].op_type in _ABSORBED and name == nodes[0].input[0]
    }


def readers_of(graph: Any) -> dict[str, list[Any]]:
    """The nodes that read each tensor of an ONNX graph."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers
