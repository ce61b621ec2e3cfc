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

OpenOnnx = Callable[[Path, int], Any]
"""Opens an ONNX file with a number of threads: a `devices.runtimes.onnxruntime.session` session."""


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
        threads: number of threads.
        open_onnx: opens the file.

    Raises:
        UserError: the file is missing, invalid, or has other inputs or outputs.
    """

    def __init__(self, file: Path, threads: int, open_onnx: OpenOnnx) -> None:
        if not file.is_file():
            raise UserError(
                f"{file}: no such ONNX file. Set teacher.file to the path of the model."
            )
        try:
            self._session = open_onnx(file, threads)
        except ValueError as error:
            raise UserError(str(error)) from error
        inputs, output = self._session.inputs, self._session.outputs[0]
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
            return self._session(images_NCHW)[:count]
        except ValueError as error:
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
