"""Loading a teacher from the teacher stage's output.

`teacher.json` describes the teacher; the train stage loads any kind of teacher with `open_teacher`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from core.files import read_json
from core.schemas import TEACHER
from data.dataset import DatasetInfo
from models.nets.evaluate import fold_batch_norms
from models.nets.subnet import Subnet
from models.nets.weights import load_into
from models.space.architecture import SCHEMA, Architecture
from models.training.teachers.onnx import OnnxTeacher, OpenOnnx
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
    content = read_json(folder / "teacher.json", TEACHER)
    if content["source"] == "space":
        architecture = Architecture.from_json(read_json(folder / ARCHITECTURE, SCHEMA))
        subnet = Subnet(architecture)
        load_into(subnet, folder / WEIGHTS)
        return fold_batch_norms(subnet)
    view = view_of(info, content["input"])
    if content["source"] == "onnx":
        return with_view(view, OnnxTeacher(folder / NETWORK, threads, onnx))
    network = build(content["name"], len(info.classes), seed=0)
    load_into(network, folder / WEIGHTS)
    return with_view(view, network.eval())


def view_of(info: DatasetInfo, wanted: Mapping[str, Any]) -> View:
    """Build the preprocessing from a data set's images to a teacher's input.

    Args:
        info: the data set.
        wanted: `channels`, `pixels`, `mean` and `std` of a `View`.
    """
    mean, std = (None if wanted[k] is None else tuple(wanted[k]) for k in ("mean", "std"))
    return View(info.mean, info.std, wanted["channels"], wanted["pixels"], mean, std)


def with_view(view: View, teacher: Teacher) -> Teacher:
    """Wrap a teacher with the preprocessing of its input."""
    return lambda images_NCHW: teacher(view(images_NCHW))
