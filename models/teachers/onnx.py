"""A user's own ONNX classifier as a teacher, run by ONNX Runtime.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.teachers.view import TeacherError

_LEAST = 1e-12


@dataclass(frozen=True)
class Signature:
    """What an ONNX classifier reads and gives; None is a size that it leaves open.

    Attributes:
        images: at once.
        channels: of the image.
        pixels: height and width.
        classes: logits or probabilities per image.
    """

    images: int | None
    channels: int | None
    pixels: int | None
    classes: int | None


class OnnxTeacher:
    """An ONNX file that turns images into logits or probabilities.

    Args:
        file: the network, with one float32 input (N, C, H, W) and a first output (N, K).
        options: ONNX Runtime's `SessionOptions`; the caller knows what this processor needs.

    Raises:
        TeacherError: it is missing, broken, or no such network.
    """

    def __init__(self, file: Path, options: Any) -> None:
        import onnxruntime

        if not file.is_file():
            raise TeacherError(f"{file}: no such ONNX file. Set teacher.file to yours.")
        try:
            self._session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except _refusals() as error:
            raise TeacherError(f"ONNX Runtime cannot load {file}: {error}") from error
        inputs, output = self._session.get_inputs(), self._session.get_outputs()[0]
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            found = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
            raise TeacherError(
                f"{file} must have one float32 input (images, channels, height, width); it has "
                f"{found}."
            )
        if output.type != "tensor(float)" or len(output.shape) != 2:
            raise TeacherError(
                f"{file} must give float32 (images, classes) first; it gives {output.name}: "
                f"{output.type} {output.shape}."
            )
        self._input, self._output = inputs[0].name, output.name
        self.signature = _signature(file, inputs[0].shape, output.shape)
        self.gives_probabilities = _last_operator(file, output.name) == "Softmax"

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, K); the logarithms of probabilities, where the network gives those."""
        images = np.ascontiguousarray(images_NCHW.numpy())
        size = self.signature.images or len(images)
        rows = [self._run(images[at : at + size], size) for at in range(0, len(images), size)]
        found_NK = torch.from_numpy(np.concatenate(rows))
        # Softmax of log-probabilities gives the probabilities back: they are logits.
        return found_NK.clamp(min=_LEAST).log() if self.gives_probabilities else found_NK

    def _run(self, images_NCHW: Any, size: int) -> Any:
        count = len(images_NCHW)
        if count < size:  # the network's batch is fixed: fill it up, and drop what comes of that
            filling = np.repeat(images_NCHW[-1:], size - count, 0)
            images_NCHW = np.concatenate([images_NCHW, filling])
        try:
            return self._session.run([self._output], {self._input: images_NCHW})[0][:count]
        except _refusals() as error:
            raise TeacherError(
                f"the ONNX teacher refuses images of shape {images_NCHW.shape[1:]}: {error}"
            ) from error


def _signature(file: Path, image: list[Any], output: list[Any]) -> Signature:
    images, channels, height, width, classes = (
        size if isinstance(size, int) and size > 0 else None for size in (*image, output[1])
    )
    if height is not None and width is not None and height != width:
        raise TeacherError(f"{file} reads images of {height} by {width} pixels, not square ones.")
    return Signature(images, channels, height or width, classes)


def _last_operator(file: Path, output: str) -> str:
    """What computes an output.

    Raises:
        TeacherError: weights lie in other files.
    """
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    if any(weights.data_location == weights.EXTERNAL for weights in model.graph.initializer):
        raise TeacherError(
            f"{file} keeps weights in other files, which nobody would know of: save it as one."
        )
    operators = [node.op_type for node in model.graph.node if output in node.output]
    return str(operators[0]) if operators else ""


def _refusals() -> tuple[type[Exception], ...]:
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
