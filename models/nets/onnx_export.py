"""Deterministic ONNX export of plain networks."""

from __future__ import annotations

import io
import warnings

import torch
from torch import nn

OPSET = 17
INPUT, OUTPUT = "images", "logits"


def to_onnx(module: nn.Module, input_shape: tuple[int, int, int]) -> bytes:
    """Export a module to ONNX in evaluation mode: float32 `images` (1, C, H, W) to `logits`.

    The batch size is fixed at 1, as run on the devices. The TorchScript exporter is used because
    it takes milliseconds per block instead of seconds, and a profile exports hundreds of blocks.
    """
    was_training = module.training
    module.eval()
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecation warning on every call
        torch.onnx.export(
            module,
            (torch.zeros(1, *input_shape),),
            buffer,  # type: ignore[arg-type]
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=False,
        )
    module.train(was_training)
    return buffer.getvalue()
