"""Weights as safetensors: the same bytes for equal weights, and never a pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn


class WeightsError(ValueError):
    """A weights file that is missing, broken, or of another network."""


def to_bytes(module: nn.Module) -> bytes:
    """All parameters and buffers of a module as safetensors."""
    return tensors_to_bytes(module.state_dict())


def tensors_to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Named tensors as safetensors, in the order of their names."""
    # contiguous(): the memory format (channels last) is no part of a weight's value.
    rows = {name: tensors[name].detach().contiguous() for name in sorted(tensors)}
    return bytes(save(rows))


def load_into(module: nn.Module, path: Path) -> None:
    """Replace all parameters and buffers of `module` by those in a file that `to_bytes` made.

    Raises:
        WeightsError: the file is missing or broken, or its names or shapes are not the module's.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights; run the stage that writes them.")
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}") from error
    wanted = module.state_dict()
    differing = sorted(
        name
        for name in wanted.keys() | found.keys()
        if name not in wanted
        or name not in found
        or wanted[name].shape != found[name].shape
        or wanted[name].dtype != found[name].dtype
    )
    if differing:
        shown = ", ".join(differing[:3]) + (", ..." if len(differing) > 3 else "")
        raise WeightsError(
            f"{path} holds the weights of another network: {len(differing)} tensors differ in "
            f"name, shape or type ({shown}). Run the stages from where the space changed."
        )
    with torch.no_grad():
        module.load_state_dict(found)
