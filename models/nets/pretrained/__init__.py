"""The table of sources of a supernet's weights. To add one, add a file here and a line below."""

from __future__ import annotations

from models.nets.pretrained.base import Start
from models.nets.pretrained.efficientnet_lite0 import EfficientNetLite0
from models.nets.pretrained.none import RandomStart
from models.nets.pretrained.supernet import SupernetFile
from models.nets.pretrained.torchvision import TorchvisionStart

STARTS: tuple[type[Start], ...] = (
    RandomStart,
    EfficientNetLite0,
    TorchvisionStart,
    SupernetFile,
)
