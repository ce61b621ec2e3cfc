"""A user-supplied ONNX classifier as a teacher, run by ONNX Runtime.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from core.checkpoint import Checkpoint
from core.errors import UserError
from data.dataset import DatasetInfo
from models.training.learning import NetworkParams
from models.training.teachers.base import Inputs, OpenOnnx, Result, Source, Teacher, TeacherRecord
from models.training.teachers.view import InputParams, TeacherInput, View

NETWORK = "teacher.onnx"
BATCH = 50
"""Images per batch; external networks and their inputs may be large."""
_LEAST = 1e-12


class OnnxRecord(TeacherRecord):
    """An ONNX file of the user."""

    source: Literal["onnx"] = "onnx"
    input: TeacherInput
    outputs: Literal["probabilities", "logits"]

    def load(self, folder: Path, info: DatasetInfo, threads: int, onnx: OpenOnnx) -> Teacher:
        """Open it in ONNX Runtime."""
        teacher = OnnxTeacher(folder / NETWORK, threads, onnx)
        return View(info.mean, info.std, self.input).before(teacher)


class OnnxSource(Source):
    """An ONNX classifier of the user, used unchanged."""

    name: Literal["onnx"] = "onnx"
    input: InputParams = InputParams()
    """What it was trained on."""
    record_type: ClassVar[type[TeacherRecord]] = OnnxRecord

    def check(self, file: Path, pixels: int, info: DatasetInfo | None, onnx: OpenOnnx) -> None:
        """Check signature, classes and input."""
        wanted = self._input_of(OnnxTeacher(file, 1, onnx), file, info)
        if info is not None:
            View(info.mean, info.std, wanted)

    def teach(self, inputs: Inputs, params: NetworkParams, checkpoint: Checkpoint) -> Result:
        """Open it in ONNX Runtime."""
        info, file = inputs.images.info, inputs.file
        teacher = OnnxTeacher(file, params.threads, inputs.onnx)
        wanted = self._input_of(teacher, file, info)
        record = OnnxRecord(
            input=wanted, outputs="probabilities" if teacher.gives_probabilities else "logits"
        )
        view = View(info.mean, info.std, wanted)
        return Result(view.before(teacher), record, {NETWORK: file.read_bytes()}, BATCH)

    def _input_of(self, teacher: OnnxTeacher, file: Path, info: DatasetInfo | None) -> TeacherInput:
        signature, wanted = teacher.signature, self.input
        if wanted.pixels is not None and signature.pixels not in {None, wanted.pixels}:
            raise UserError(
                f"{file} has an input of {signature.pixels} pixels, but "
                f"teacher.source.input.pixels is {wanted.pixels}: set it to null."
            )
        if info is not None and signature.classes not in {None, len(info.classes)}:
            raise UserError(
                f"{file} has {signature.classes} classes, but the data set has "
                f"{len(info.classes)}: the classes must be the data set's, in the same order."
            )
        channels = signature.channels or (None if info is None else len(info.mean))
        pixels = signature.pixels or wanted.pixels
        return TeacherInput(channels=channels, pixels=pixels, mean=wanted.mean, std=wanted.std)


@dataclass(frozen=True)
class Signature:
    """Input and output sizes of an ONNX classifier; None if dynamic.

    Attributes:
        images: batch size.
        pixels: height and width.
        classes: number of outputs per image.
    """

    images: int | None
    channels: int | None
    pixels: int | None
    classes: int | None


class OnnxTeacher:
    """An ONNX model that computes logits or probabilities.

    It has one float32 input (N, C, H, W) and a first output (N, K).

    Raises:
        UserError: the file is missing, invalid, or has other inputs or outputs.
    """

    def __init__(self, file: Path, threads: int, open_onnx: OpenOnnx) -> None:
        if not file.is_file():
            raise UserError(f"{file} is no ONNX file. Set teacher.file to the path of the model.")
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
