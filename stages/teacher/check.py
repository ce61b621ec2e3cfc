"""A look at a teacher from elsewhere before any long work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.dataset import DatasetInfo
from devices.agent.onnx_session import session_options
from models.teachers import torchvision
from models.teachers.onnx import OnnxTeacher
from models.teachers.view import TeacherError
from stages.common.teachers import view_of
from stages.teacher.params import InputParams, TeacherParams

_ANY_CLASSES = 10


def check_teacher(params: TeacherParams, file: Path, pixels: int, info: DatasetInfo | None) -> None:
    """Refuse a teacher whose file is missing, broken, or does not suit the data set.

    Args:
        params: the section `teacher`.
        file: `params.file`, found.
        pixels: height and width of the images.
        info: the prepared data set; None while there is none, when neither classes nor colours
            are known. The stage itself checks again.

    Raises:
        TeacherError: the message has the way out.
    """
    if not file.is_file():
        raise TeacherError(
            f"teacher.file: {file} is no file. Name your teacher's, or stages/teacher/README.md "
            "where the teacher comes from the space."
        )
    if params.source == "onnx":
        onnx_input(OnnxTeacher(file, session_options(1)), file, params.input, info)
    elif params.source == "torchvision":
        classes = _ANY_CLASSES if info is None else len(info.classes)
        seen = pixels if params.input.pixels is None else params.input.pixels
        torchvision.check(params.torchvision.name, classes, file, seen)
        if info is not None:
            view_of(info, params.input.model_dump() | {"channels": torchvision.CHANNELS})


def onnx_input(
    teacher: OnnxTeacher, file: Path, wanted: InputParams, info: DatasetInfo | None
) -> dict[str, Any]:
    """What an ONNX teacher sees, as `teacher.json` says it.

    Args:
        teacher: the network.
        file: where it came from.
        wanted: what the params say of its input.
        info: the data set; None if it is not known yet.

    Raises:
        TeacherError: it was made for other images or classes.
    """
    signature = teacher.signature
    if wanted.pixels is not None and signature.pixels not in {None, wanted.pixels}:
        raise TeacherError(
            f"{file} reads images of {signature.pixels} pixels, and teacher.input.pixels is "
            f"{wanted.pixels}: set it to null."
        )
    channels = signature.channels
    if info is not None:
        if signature.classes not in {None, len(info.classes)}:
            raise TeacherError(
                f"{file} tells {signature.classes} classes apart and the data set has "
                f"{len(info.classes)}: a teacher's classes must be the data set's, in its order."
            )
        channels = channels or len(info.mean)
    found = wanted.model_dump() | {"channels": channels}
    found["pixels"] = signature.pixels or wanted.pixels
    if info is not None:
        view_of(info, found)
    return found
