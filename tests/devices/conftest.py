"""Tiny models for quantisation and measurement."""

from pathlib import Path

import pytest
import torch
from torch import nn

from models.nets.onnx_export import to_onnx


def layers(depth: int) -> nn.Module:
    convolutions = [nn.Conv2d(16, 16, 3, padding=1) for _ in range(depth)]
    return nn.Sequential(nn.Conv2d(1, 16, 3), *convolutions, nn.Flatten(), nn.Linear(16 * 36, 5))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 network for images of (1, 1, 8, 8), with one hidden layer."""
    return write(tmp_path_factory, 1)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with thirty hidden layers."""
    return write(tmp_path_factory, 30)


def write(factory: pytest.TempPathFactory, depth: int) -> Path:
    torch.manual_seed(0)
    file = factory.mktemp("models") / f"depth{depth}.onnx"
    file.write_bytes(to_onnx(layers(depth), (1, 8, 8)))
    return file
