"""Loading a teacher from the teacher stage's output.

`teacher.json` describes the teacher; the train stage loads any kind of teacher with `open_teacher`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from core.files import read_json
from data.dataset import DatasetInfo
from models.nets.evaluate import fold_batch_norms
from models.nets.subnet import Subnet
from models.nets.weights import load_into
from models.space.architecture import SCHEMA, Architecture
from models.training.teachers.onnx import OnnxTeacher, OpenOnnx
from models.training.teachers.record import OnnxRecord, SpaceRecord, TeacherInput, read_record
from models.training.teachers.torchvision import build
from models.training.teachers.view import View

Teacher = Callable[[Tensor], Tensor]
"""Maps the data set's normalised images (N, C, H, W) to logits (N, K)."""
WEIGHTS, ARCHITECTURE, NETWORK = "teacher.safetensors", "architecture.json", "teacher.onnx"


def open_teacher(folder: Path, info: DatasetInfo, threads: int, onnx: OpenOnnx) -> Teacher:
    """Load the teacher written by the teacher stage.

    Args:
        folder: output of that stage.
        info: the data set of the images.
        threads: of ONNX Runtime, if it runs the teacher.
        onnx: opens its ONNX file.

    Raises:
        FileFormatError: the folder is incomplete, or of another version.
    """
    record = read_record(folder)
    if isinstance(record, SpaceRecord):
        architecture = Architecture.from_json(read_json(folder / ARCHITECTURE, SCHEMA))
        subnet = Subnet(architecture)
        load_into(subnet, folder / WEIGHTS)
        return fold_batch_norms(subnet)
    view = view_of(info, record.input)
    if isinstance(record, OnnxRecord):
        return with_view(view, OnnxTeacher(folder / NETWORK, threads, onnx))
    network = build(record.name, len(info.classes), seed=0)
    load_into(network, folder / WEIGHTS)
    return with_view(view, network.eval())


def view_of(info: DatasetInfo, wanted: TeacherInput) -> View:
    """Build the preprocessing from a data set's images to a teacher's input."""
    channels = wanted.channels or len(info.mean)
    return View(info.mean, info.std, channels, wanted.pixels, wanted.mean, wanted.std)


def with_view(view: View, teacher: Teacher) -> Teacher:
    """Wrap a teacher with the preprocessing of its input."""
    return lambda images_NCHW: teacher(view(images_NCHW))
