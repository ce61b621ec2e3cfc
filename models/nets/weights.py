"""Deterministic serialisation of weights as safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from core.errors import UserError


def to_bytes(module: nn.Module) -> bytes:
    """Serialise all parameters and buffers of a module, sorted by name."""
    tensors = module.state_dict()
    # contiguous(): the bytes must not depend on the memory format (channels last).
    rows = {name: tensors[name].detach().contiguous() for name in sorted(tensors)}
    return bytes(save(rows))


def load_into(module: nn.Module, path: Path) -> None:
    """Load all parameters and buffers of `module` from a file written by `to_bytes`.

    Raises:
        UserError: the file is missing or corrupt, or names, shapes or types differ.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weights; run the stage that writes them.")
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is not a valid safetensors file: {error}") from error
    wanted = module.state_dict()
    shapes = [{n: (t.shape, t.dtype) for n, t in tensors.items()} for tensors in (wanted, found)]
    differing = sorted({name for name, _ in shapes[0].items() ^ shapes[1].items()})
    if differing:
        shown = ", ".join(differing[:3]) + (", ..." if len(differing) > 3 else "")
        raise UserError(
            f"{path} contains the weights of another network: {len(differing)} tensors differ in "
            f"name, shape or type ({shown}). Rerun the stages after the change of the space."
        )
    with torch.no_grad():
        module.load_state_dict(found)
