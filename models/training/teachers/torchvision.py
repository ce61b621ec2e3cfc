"""torchvision classifiers with weights from a user-supplied file.

Weights are safetensors, or a state dict loaded by `torch.load(weights_only=True)`. Files are never
unpickled otherwise, because that can execute code.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from core.errors import UserError

CHANNELS = 3
"""torchvision classifiers have RGB inputs."""
_COUNTERS = "num_batches_tracked"


class Loaded(NamedTuple):
    """A classifier for this data set's classes.

    Attributes:
        network: in evaluation mode.
        fresh_layer: name of the last layer if it was reinitialised for another number of classes;
            else None.
    """

    network: nn.Module
    fresh_layer: str | None


def names() -> list[str]:
    """Names of torchvision's classifiers."""
    from torchvision import models

    return [str(name) for name in models.list_models(module=models)]


def build(name: str, classes: int, seed: int, device: str = "cpu") -> nn.Module:
    """Build a classifier with random weights, in evaluation mode.

    Args:
        name: of the torchvision model.
        classes: number of logits.
        seed: of the weights; the state of torch's global generator is restored.
        device: "meta" builds shapes without weights.
    """
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        network: nn.Module = get_model(name, weights=None, num_classes=classes)
    return network.eval()


def load(name: str, classes: int, file: Path, seed: int = 0) -> Loaded:
    """Load a classifier with the weights of a file.

    Args:
        name: of the torchvision model.
        classes: of this data set. If the file has another number of classes, the last layer is
            reinitialised.
        file: weights.
        seed: of the reinitialised layer.

    Raises:
        UserError: the file cannot be read, or is of another model.
    """
    network = build(name, classes, seed)
    found = read_state(file)
    fresh = differing_layer(network.state_dict(), found, name, file)
    if fresh is not None:
        found = {key: value for key, value in found.items() if key.rpartition(".")[0] != fresh}
    network.load_state_dict(found, strict=False)
    return Loaded(network, fresh)


def check(name: str, classes: int, file: Path, pixels: int) -> None:
    """Check weights and image size without running the network.

    Args:
        name: of the torchvision model.
        classes: of this data set.
        file: weights.
        pixels: height and width of the input.

    Raises:
        UserError: the weights are of another model, or the images are too small.
    """
    network = build(name, classes, seed=0, device="meta")
    differing_layer(network.state_dict(), read_state(file), name, file)
    try:
        network(torch.empty(1, CHANNELS, pixels, pixels, device="meta"))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"torchvision's '{name}' cannot read images of {pixels} by {pixels} pixels ({error}). "
            "Set teacher.input.pixels to the size it was trained on."
        ) from error


def read_state(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file, by name.

    Raises:
        UserError: the file is missing, corrupt, or contains anything but tensors.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such weights. Set teacher.file to the path of the weights.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"{file} is not a valid safetensors file: {error}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(
            f"{file} cannot be loaded as weights: it is corrupt, or contains more than tensors "
            "and could execute code. Save only the weights: "
            "torch.save(network.state_dict(), FILE)."
        ) from error
    tensors = isinstance(content, dict) and all(isinstance(v, Tensor) for v in content.values())
    if not content or not tensors:
        raise UserError(
            f"{file} contains no state dict of tensors. Save only the weights: "
            "torch.save(network.state_dict(), FILE)."
        )
    return dict(content)


def differing_layer(
    wanted: dict[str, Tensor], found: dict[str, Tensor], name: str, file: Path
) -> str | None:
    """The layer whose shape differs in the number of classes; None if all shapes match.

    Raises:
        UserError: names differ, or shapes of more than the last layer.
    """
    missing = [k for k in wanted if k not in found and not k.endswith(_COUNTERS)]
    unknown = [key for key in found if key not in wanted]
    if missing or unknown:
        raise UserError(
            f"{file} does not match torchvision's '{name}': {len(missing)} tensors are missing"
            f"{_some(missing)} and {len(unknown)} unknown{_some(unknown)}. "
            "Set teacher.torchvision.name to the model of the weights."
        )
    other = [key for key in found if found[key].shape != wanted[key].shape]
    layers = {key.rpartition(".")[0] for key in other}
    only_classes = all(found[key].shape[1:] == wanted[key].shape[1:] for key in other)
    if len(layers) > 1 or not only_classes:
        raise UserError(
            f"{file} differs from torchvision's '{name}' in more than the classes of its last "
            f"layer{_some(other)}: use weights of an unmodified model."
        )
    return next(iter(layers), None)


def _some(keys: list[str]) -> str:
    return f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else ""
