"""The table of teacher sources. To add one, add a file here and a line below."""

from __future__ import annotations

from models.training.teachers.base import Source
from models.training.teachers.onnx import OnnxSource
from models.training.teachers.space import SpaceSource
from models.training.teachers.torchvision import TorchvisionSource

SOURCES: tuple[type[Source], ...] = (
    SpaceSource,
    TorchvisionSource,
    OnnxSource,
)
