"""A teacher's folder, opened again to be asked about images.

`teacher.json` says what the teacher is; this is how the train stage uses any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from data.dataset import DatasetInfo
from devices.agent.onnx_session import session_options
from models.architecture import SCHEMA, Architecture
from models.evaluate import folded
from models.subnet import Subnet
from models.teachers.onnx import OnnxTeacher
from models.teachers.torchvision import build
from models.teachers.view import View
from models.weights import load_into
from stages.common.files import read_json
from stages.common.schemas import TEACHER

Teacher = Callable[[Tensor], Tensor]
"""The data set's normalised images (N, C, H, W) to logits (N, K)."""
WEIGHTS, ARCHITECTURE, NETWORK = "teacher.safetensors", "architecture.json", "teacher.onnx"


def open_teacher(folder: Path, info: DatasetInfo, threads: int) -> Teacher:
    """The teacher that the teacher stage left in a folder.

    Args:
        folder: of that stage.
        info: the data set whose images it will be asked about.
        threads: of ONNX Runtime, where that runs it.

    Raises:
        FileFormatError: the folder is not whole, or of another version.
    """
    content = read_json(folder / "teacher.json", TEACHER)
    if content["source"] == "space":
        architecture = Architecture.from_json(read_json(folder / ARCHITECTURE, SCHEMA))
        subnet = Subnet(architecture)
        load_into(subnet, folder / WEIGHTS)
        return folded(subnet)
    look = view_of(info, content["input"])
    if content["source"] == "onnx":
        return seeing(look, OnnxTeacher(folder / NETWORK, session_options(threads)))
    network = build(content["name"], len(info.classes), seed=0)
    load_into(network, folder / WEIGHTS)
    return seeing(look, network.eval())


def view_of(info: DatasetInfo, wanted: Mapping[str, Any]) -> View:
    """How a data set's images become a teacher's input.

    Args:
        info: the data set.
        wanted: `channels`, `pixels`, `mean` and `std` of a `View`.
    """
    mean, std = (None if wanted[k] is None else tuple(wanted[k]) for k in ("mean", "std"))
    return View(info.mean, info.std, wanted["channels"], wanted["pixels"], mean, std)


def seeing(look: View, teacher: Teacher) -> Teacher:
    """A teacher that is shown the data set's images as it wants them."""
    return lambda images_NCHW: teacher(look(images_NCHW))
