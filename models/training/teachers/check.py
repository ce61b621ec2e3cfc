"""Checks of an external teacher before a run starts."""

from __future__ import annotations

from pathlib import Path

from core.errors import UserError
from data.dataset import DatasetInfo
from models.training.teachers import torchvision
from models.training.teachers.load import view_of
from models.training.teachers.onnx import OnnxTeacher, OpenOnnx
from models.training.teachers.record import TeacherInput
from models.training.teachers.settings import InputParams, TeacherParams

_ANY_CLASSES = 10


def check_teacher(
    params: TeacherParams, file: Path, pixels: int, info: DatasetInfo | None, onnx: OpenOnnx
) -> None:
    """Check that a teacher's file exists, is valid and fits the data set.

    Args:
        params: the section `teacher`.
        file: path of `params.file`.
        pixels: height and width of the images.
        info: the prepared data set; None if there is none yet, when classes and channels are
            unknown. The stage itself checks again.
        onnx: opens an ONNX file in ONNX Runtime.

    Raises:
        UserError: a check failed; the message has the fix.
    """
    if not file.is_file():
        raise UserError(
            f"teacher.file: {file} is not a file. Set it to your teacher's file, or to "
            "stages/teacher/README.md if the teacher comes from the space."
        )
    if params.source == "onnx":
        onnx_input(OnnxTeacher(file, 1, onnx), file, params.input, info)
    elif params.source == "torchvision":
        classes = _ANY_CLASSES if info is None else len(info.classes)
        seen = pixels if params.input.pixels is None else params.input.pixels
        torchvision.check(params.torchvision.name, classes, file, seen)
        if info is not None:
            view_of(info, TeacherInput(channels=torchvision.CHANNELS, **params.input.model_dump()))


def onnx_input(
    teacher: OnnxTeacher, file: Path, wanted: InputParams, info: DatasetInfo | None
) -> TeacherInput:
    """Determine an ONNX teacher's input, as recorded in `teacher.json`.

    Args:
        teacher: the network.
        file: its ONNX file.
        wanted: the params of its input.
        info: the data set; None if not known yet.

    Raises:
        UserError: it does not fit the data set's images or classes.
    """
    signature = teacher.signature
    if wanted.pixels is not None and signature.pixels not in {None, wanted.pixels}:
        raise UserError(
            f"{file} has an input of {signature.pixels} pixels, but teacher.input.pixels is "
            f"{wanted.pixels}: set it to null."
        )
    channels = signature.channels
    if info is not None:
        if signature.classes not in {None, len(info.classes)}:
            raise UserError(
                f"{file} has {signature.classes} classes, but the data set has "
                f"{len(info.classes)}: the classes must be the data set's, in the same order."
            )
        channels = channels or len(info.mean)
    pixels = signature.pixels or wanted.pixels
    found = TeacherInput(channels=channels, pixels=pixels, mean=wanted.mean, std=wanted.std)
    if info is not None:
        view_of(info, found)
    return found
