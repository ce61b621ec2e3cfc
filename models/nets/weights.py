"""Deterministic serialisation of weights as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from core.errors import UserError

_NOTE = "netwright"


def to_bytes(module: nn.Module, note: Mapping[str, Any] | None = None) -> bytes:
    """Serialise all parameters and buffers of a module, sorted by name, and a note of JSON values.

    A note is one entry of the file's metadata, as the order of several is not fixed.
    """
    tensors = module.state_dict()
    # contiguous(): the bytes must not depend on the memory format (channels last).
    rows = {name: tensors[name].detach().contiguous() for name in sorted(tensors)}
    text = None if note is None else {_NOTE: json.dumps(note, sort_keys=True)}
    return bytes(save(rows, text))


def read_note(path: Path) -> dict[str, Any]:
    """The note of a file written by `to_bytes`; empty without one.

    Raises:
        UserError: the file is missing or corrupt.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weights; run the stage that writes them.")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_NOTE, "{}")
    except SafetensorError as error:
        raise UserError(f"{path} is not a valid safetensors file: {error}") from error
    return dict(json.loads(text))


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
