"""Selection of the networks to measure, and export of blocks and networks to files.

Axes: C channels, H height, W width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from devices.latency.table import FLOAT32, network_key
from devices.quantize.static import quantize_static, to_float16
from devices.runtimes.base import Backend
from models.nets.onnx_export import to_onnx
from models.nets.subnet import PlainBlock, Subnet
from models.space.architecture import Architecture, Block
from models.space.costs import block_flops
from models.space.space import SearchSpace
from models.space.spec import SpaceError

_CALIBRATION_IMAGES = 2
_ATTEMPTS = 100


def draw_networks(
    space: SearchSpace, count: int, rng: np.random.Generator
) -> tuple[Architecture, ...]:
    """Draw different architectures, sorted from the fewest to the most MACs.

    Uniform samples concentrate around the middle of a space, while budgets often lie near its ends.
    So each network is biased towards one end: a group takes that end's candidate with a
    probability from 1 (smallest) over 0 (uniform) to 1 (largest).

    Raises:
        SpaceError: the space does not contain that many.
    """
    ends = [space.choices(space.extreme(block_flops, largest=largest)) for largest in (False, True)]
    found: dict[Architecture, float] = {}
    # The ends are drawn first, so that no other network biased towards them takes their place.
    for lean in sorted(np.linspace(-1, 1, count), key=lambda lean: -abs(lean)):
        for attempt in range(_ATTEMPTS):
            strength = abs(lean) * (1 - attempt / _ATTEMPTS)
            end = ends[int(lean > 0)]
            uniform = space.choices(space.sample(rng))
            taken = rng.random(len(end)) < strength
            choices = [e if t else u for e, u, t in zip(end, uniform, taken, strict=True)]
            architecture = space.architecture(choices)
            if architecture not in found:
                found[architecture] = float(lean)
                break
        else:
            raise SpaceError(
                f"space '{space.name}' is too small for {count} different networks: lower "
                "profile.networks or profile.held_out."
            )
    return tuple(sorted(found, key=lambda architecture: found[architecture]))


def split_networks(
    networks: tuple[Architecture, ...], held_out: int
) -> tuple[tuple[Architecture, ...], tuple[Architecture, ...]]:
    """Split into networks to fit on and held-out ones, which are evenly spaced by MACs."""
    chosen = set(np.linspace(1, len(networks) - 2, held_out).round().astype(int).tolist())
    fitted = tuple(n for i, n in enumerate(networks) if i not in chosen)
    return fitted, tuple(networks[i] for i in sorted(chosen))


def write_block(block: Block, file: Path, seed: int) -> None:
    """Export one block with random weights."""
    torch.manual_seed(seed)
    shape_CHW = (block.in_channels, block.size, block.size)
    file.write_bytes(to_onnx(PlainBlock(block), shape_CHW))


def write_network(architecture: Architecture, file: Path, seed: int) -> None:
    """Export a network in float32 with random weights, which hardly affect latency."""
    torch.manual_seed(seed)
    file.write_bytes(to_onnx(Subnet(architecture), architecture.image_shape))


def write_network_in(
    precision: str, architecture: Architecture, folder: Path, runtime: Backend, seed: int
) -> Path:
    """Export a network in a precision, calibrated on random images; returns the file.

    A lower precision is converted from the network's float32 file, which is written if missing.
    """
    float32 = folder / f"{network_key(architecture, FLOAT32)}.onnx"
    if not float32.is_file():
        write_network(architecture, float32, seed)
    if precision == FLOAT32:
        return float32
    file = folder / f"{network_key(architecture, precision)}.onnx"
    if precision == "float16":
        to_float16(float32, file)
    else:
        shape_1CHW = (1, *architecture.image_shape)
        rng = np.random.default_rng(seed)
        images = (
            rng.normal(size=shape_1CHW).astype(np.float32) for _ in range(_CALIBRATION_IMAGES)
        )
        quantize_static(float32, file, images, runtime.activations)
    return file
