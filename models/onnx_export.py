"""From a plain network to ONNX, as bytes that depend on the network alone."""

from __future__ import annotations

import io
import warnings

import torch
from torch import nn

OPSET = 17
INPUT, OUTPUT = "images", "logits"


def to_onnx(module: nn.Module, input_shape: tuple[int, int, int]) -> bytes:
    """Export a module for one image: float32 `images` (1, C, H, W) to `logits`.

    The batch is fixed at 1, which is what the devices run and what every runtime optimises best.
    The tracing exporter is used because it takes milliseconds where the newer one takes seconds,
    and a profile exports hundreds of blocks.

    Args:
        module: any module of one tensor to one tensor; it is exported as in evaluation.
        input_shape: (channels, height, width).
    """
    was_training = module.training
    module.eval()
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter announces its successor on every call
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
