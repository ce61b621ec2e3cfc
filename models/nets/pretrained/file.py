"""Reading tensors from a weights file, without running code of it."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.errors import UserError


def read_state(file: Path, setting: str = "supernet.file") -> dict[str, Tensor]:
    """Read the tensors of a safetensors file or of a state dict, by name.

    Args:
        file: safetensors, or written by `torch.save(network.state_dict(), FILE)`.
        setting: that names the file, for messages.

    Raises:
        UserError: the file is missing, corrupt, or contains anything but tensors.
    """
    if not file.is_file():
        raise UserError(f"{file} is no weights file. Set {setting} to the path of the weights.")
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
