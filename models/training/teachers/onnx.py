"""A user-supplied ONNX classifier as a teacher, run by ONNX Runtime.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError

_LEAST = 1e-12

OnnxOptions = Callable[[int], Any]
"""ONNX Runtime's `SessionOptions` for a number of threads; `devices/` knows how to build them."""


@dataclass(frozen=True)
class Signature:
    """Input and output sizes of an ONNX classifier; None if dynamic.

    Attributes:
        images: batch size.
        channels: of the image.
        pixels: height and width.
        classes: number of outputs per image.
    """

    images: int | None
    channels: int | None
    pixels: int | None
    classes: int | None


class OnnxTeacher:
    """An ONNX model that computes logits or probabilities.

    Args:
        file: the model, with one float32 input (N, C, H, W) and a first output (N, K).
        options: ONNX Runtime's `SessionOptions`.

    Raises:
        UserError: the file is missing, invalid, or has other inputs or outputs.
    """

    def __init__(self, file: Path, options: Any) -> None:
        import onnxruntime

        if not file.is_file():
            raise UserError(
                f"{file}: no such ONNX file. Set teacher.file to the path of the model."
            )
        try:
            self._session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except _runtime_errors() as error:
            raise UserError(f"ONNX Runtime cannot load {file}: {error}") from error
        inputs, output = self._session.get_inputs(), self._session.get_outputs()[0]
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            found = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
            raise UserError(
                f"{file} must have one float32 input (images, channels, height, width); it has "
                f"{found}."
            )
        if output.type != "tensor(float)" or len(output.shape) != 2:
            raise UserError(
                f"{file} must have a first output float32 (images, classes); it has {output.name}: "
                f"{output.type} {output.shape}."
            )
        self._input, self._output = inputs[0].name, output.name
        self.signature = _signature(file, inputs[0].shape, output.shape)
        self.gives_probabilities = _last_operator(file, output.name) == "Softmax"

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, K); log-probabilities if the model outputs probabilities."""
        images = np.ascontiguousarray(images_NCHW.numpy())
        size = self.signature.images or len(images)
        rows = [self._run(images[at : at + size], size) for at in range(0, len(images), size)]
        found_NK = torch.from_numpy(np.concatenate(rows))
        # Log-probabilities are valid logits: their softmax gives the probabilities.
        return found_NK.clamp(min=_LEAST).log() if self.gives_probabilities else found_NK

    def _run(self, images_NCHW: Any, size: int) -> Any:
        count = len(images_NCHW)
        if count < size:  # fixed batch size: pad, and drop the padded rows
            padding = np.repeat(images_NCHW[-1:], size - count, 0)
            images_NCHW = np.concatenate([images_NCHW, padding])
        try:
            return self._session.run([self._output], {self._input: images_NCHW})[0][:count]
        except _runtime_errors() as error:
            raise UserError(
                f"the ONNX teacher does not accept images of shape {images_NCHW.shape[1:]}: {error}"
            ) from error


def _signature(file: Path, image: list[Any], output: list[Any]) -> Signature:
    images, channels, height, width, classes = (
        size if isinstance(size, int) and size > 0 else None for size in (*image, output[1])
    )
    if height is not None and width is not None and height != width:
        raise UserError(f"{file} reads images of {height} by {width} pixels; they must be square.")
    return Signature(images, channels, height or width, classes)


def _last_operator(file: Path, output: str) -> str:
    """Type of the operator that computes an output.

    Raises:
        UserError: weights are stored in external files.
    """
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    if any(weights.data_location == weights.EXTERNAL for weights in model.graph.initializer):
        raise UserError(f"{file} stores weights in external data files: save it as a single file.")
    operators = [node.op_type for node in model.graph.node if output in node.output]
    return str(operators[0]) if operators else ""


def _runtime_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.EPFail,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
    )
