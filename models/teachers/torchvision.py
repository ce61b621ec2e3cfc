"""torchvision's classifiers, with weights from a file of the user's own.

Weights are safetensors, or a state dict that `torch.load(weights_only=True)` reads: tensors under
their names and nothing else. A file is never unpickled otherwise, because that runs its code.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.teachers.view import TeacherError

CHANNELS = 3
"""Every classifier of torchvision reads red, green and blue."""
_COUNTERS = "num_batches_tracked"


class Loaded(NamedTuple):
    """A classifier of this data set's classes.

    Attributes:
        network: in evaluation mode.
        fresh_layer: name of the last layer where the file's was for other classes, and so it has
            fresh weights; None where the file's fits.
    """

    network: nn.Module
    fresh_layer: str | None


def names() -> list[str]:
    """The classifiers that torchvision has."""
    from torchvision import models

    return [str(name) for name in models.list_models(module=models)]


def build(name: str, classes: int, seed: int, device: str = "cpu") -> nn.Module:
    """A classifier with fresh weights, in evaluation mode.

    Args:
        name: torchvision's.
        classes: how many logits it gives.
        seed: of the weights. torchvision draws them from torch's global generator, which is left
            as it was.
        device: where; on "meta" it has shapes and no weights, which takes no time.
    """
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        network: nn.Module = get_model(name, weights=None, num_classes=classes)
    return network.eval()


def load(name: str, classes: int, file: Path, seed: int = 0) -> Loaded:
    """A classifier with the weights of a file.

    Args:
        name: torchvision's.
        classes: of this data set. A file for another number of classes keeps all but its last
            layer, which gets fresh weights.
        file: weights.
        seed: of those fresh weights.

    Raises:
        TeacherError: the file cannot be read, or is of another network.
    """
    network = build(name, classes, seed)
    found = read_state(file)
    fresh = differing_layer(network.state_dict(), found, name, file)
    if fresh is not None:
        found = {key: value for key, value in found.items() if key.rpartition(".")[0] != fresh}
    network.load_state_dict(found, strict=False)
    return Loaded(network, fresh)


def check(name: str, classes: int, file: Path, pixels: int) -> None:
    """Refuse weights of another network, and images that are too small for it, without running it.

    Args:
        name: torchvision's.
        classes: of this data set.
        file: weights.
        pixels: height and width of what it will see.

    Raises:
        TeacherError: the message has the way out.
    """
    network = build(name, classes, seed=0, device="meta")
    differing_layer(network.state_dict(), read_state(file), name, file)
    try:
        network(torch.empty(1, CHANNELS, pixels, pixels, device="meta"))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise TeacherError(
            f"torchvision's '{name}' cannot see images of {pixels} by {pixels} pixels ({error}). "
            "Set teacher.input.pixels to what it was trained on."
        ) from error


def read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by name.

    Raises:
        TeacherError: it is missing, broken, or holds anything but tensors.
    """
    if not file.is_file():
        raise TeacherError(f"{file}: no such weights. Set teacher.file to yours.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise TeacherError(f"{file} is not a whole safetensors file: {error}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise TeacherError(
            f"{file} cannot be read as weights: it is broken, or holds more than tensors, which "
            "could run its own code and is refused. Save the weights alone: "
            "torch.save(network.state_dict(), FILE)."
        ) from error
    tensors = isinstance(content, dict) and all(isinstance(v, Tensor) for v in content.values())
    if not content or not tensors:
        raise TeacherError(
            f"{file} holds no weights by name. Save them alone: "
            "torch.save(network.state_dict(), FILE)."
        )
    return dict(content)


def differing_layer(
    wanted: dict[str, Tensor], found: dict[str, Tensor], name: str, file: Path
) -> str | None:
    """The one layer that a file has for other classes; None where all fits.

    Raises:
        TeacherError: more than the last layer differs.
    """
    missing = [k for k in wanted if k not in found and not k.endswith(_COUNTERS)]
    unknown = [key for key in found if key not in wanted]
    if missing or unknown:
        raise TeacherError(
            f"{file} is not of torchvision's '{name}': {len(missing)} tensors are missing"
            f"{_some(missing)} and {len(unknown)} unknown{_some(unknown)}. "
            "Set teacher.torchvision.name to what the weights are of."
        )
    other = [key for key in found if found[key].shape != wanted[key].shape]
    layers = {key.rpartition(".")[0] for key in other}
    only_classes = all(found[key].shape[1:] == wanted[key].shape[1:] for key in other)
    if len(layers) > 1 or not only_classes:
        raise TeacherError(
            f"{file} differs from torchvision's '{name}' in more than the classes of its last "
            f"layer{_some(other)}: such a network cannot be adapted."
        )
    return next(iter(layers), None)


def _some(keys: list[str]) -> str:
    return f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else ""
