"""Evaluating a network: batch-norm recalibration, logits, accuracy.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.fusion import fuse_conv_bn_eval

from data.stream import Batch
from models.nets.subnet import ConvNorm
from models.nets.supernet import Supernet, extract
from models.space.architecture import Architecture

Model = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) to logits (N, K): a module, on any device, or a function on the CPU."""


def device_of(model: Model) -> torch.device:
    """The device of a module's weights; the CPU for a function, or a module without weights."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    weight = next(parameters, None)
    return torch.device("cpu") if weight is None else weight.device


@torch.no_grad()
def recalibrate(subnet: nn.Module, batches: Iterable[Tensor]) -> None:
    """Recompute the batch norms' running statistics as averages over batches, in place.

    A slice of a supernet has statistics averaged over many paths, which make its accuracy
    meaningless (Pi-NAS and all single-path methods). Weights and training mode are not changed.

    Args:
        subnet: a plain network, on any device.
        batches: normalised images (N, C, H, W) of the training split, moved to its device.

    Raises:
        ValueError: no batches.
    """
    norms = [module for module in subnet.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    was_training, batch_count, device = subnet.training, 0, device_of(subnet)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None means cumulative average over batches
    subnet.train()
    for images_NCHW in batches:
        subnet(images_NCHW.to(device))
        batch_count += 1
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    subnet.train(was_training)
    if batch_count == 0:
        raise ValueError("recalibration needs at least one batch of training images.")


@torch.inference_mode()
def logits(model: Model, batches: Iterable[Batch]) -> npt.NDArray[np.float32]:
    """Logits (N, K) on all batches, in order; the batches are moved to the model's device."""
    device = device_of(model)
    rows = [model(batch.images_NCHW.to(device)).cpu().numpy() for batch in batches]
    return np.concatenate(rows).astype(np.float32, copy=False)


@torch.inference_mode()
def accuracy(model: Model, batches: Iterable[Batch]) -> float:
    """Top-1 accuracy, a fraction; the batches are moved to the model's device.

    Raises:
        ValueError: no images.
    """
    correct, images, device = 0, 0, device_of(model)
    for batch in batches:
        predicted_N = model(batch.images_NCHW.to(device)).argmax(1).cpu()
        correct += int((predicted_N == batch.labels_N).sum())
        images += len(batch.labels_N)
    if images == 0:
        raise ValueError("accuracy needs at least one image.")
    return correct / images


@torch.inference_mode()
def nll_and_accuracy(model: Model, batches: Iterable[Batch]) -> tuple[float, float]:
    """Mean cross-entropy in nats per image, and top-1 accuracy, a fraction.

    Raises:
        ValueError: no images.
    """
    total, correct, images = 0.0, 0, 0
    for batch in batches:
        logits_NK = model(batch.images_NCHW)
        total += float(cross_entropy(logits_NK, batch.labels_N, reduction="sum"))
        correct += int((logits_NK.argmax(1) == batch.labels_N).sum())
        images += len(batch.labels_N)
    if images == 0:
        raise ValueError("an evaluation needs at least one image.")
    return total / images, correct / images


def slice_accuracy(
    supernet: Supernet,
    architecture: Architecture,
    calibration: Iterable[Tensor],
    held_out: Iterable[Batch],
) -> float:
    """Top-1 accuracy on `held_out` of a supernet's slice, recalibrated by training images."""
    subnet = extract(supernet, architecture)
    recalibrate(subnet, calibration)
    return accuracy(subnet.eval(), held_out)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode with batch norms folded into the preceding convolutions.

    Outputs are equal up to rounding; it runs in about two thirds of the time. Only batch norms in
    `ConvNorm` and `nn.Sequential` are folded, as other modules do not define an execution order.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        if not isinstance(module, ConvNorm | nn.Sequential):
            continue
        names = list(module._modules)
        for before, name in pairwise(names):
            conv, norm = getattr(module, before), getattr(module, name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, before, fuse_conv_bn_eval(conv, norm))
                setattr(module, name, nn.Identity())
    return folded.requires_grad_()  # the new biases are created without gradient
