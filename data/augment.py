"""Random augmentation of training images with torchvision's transforms, image by image.

An image's transform depends on its seed alone: on neither the batch nor the process it is in.

Axes: N images, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.dataset import Policy

UInt8 = npt.NDArray[np.uint8]
Seeds = npt.NDArray[np.int64]


def augment_images(images_NHWC: UInt8, policy: Policy, seeds_N: Seeds) -> UInt8:
    """Augment a copy of the images; each with the random numbers of its seed."""
    _, height, width, channels = images_NHWC.shape
    transform = _transform(policy, (height, width), channels)
    images_NCHW = torch.from_numpy(np.ascontiguousarray(images_NHWC.transpose(0, 3, 1, 2)))
    with torch.random.fork_rng(devices=[]):
        changed = []
        for image_CHW, seed in zip(images_NCHW, seeds_N.tolist(), strict=True):
            torch.default_generator.manual_seed(seed)  # `manual_seed` reseeds every GPU, too
            changed.append(transform(image_CHW))
    stacked_NCHW: UInt8 = torch.stack(changed).numpy()
    return np.ascontiguousarray(stacked_NCHW.transpose(0, 2, 3, 1))


def _transform(policy: Policy, size: tuple[int, int], channels: int) -> Callable[[Tensor], Tensor]:
    """The transforms of a policy: uint8 (C, H, W) to uint8 (C, H, W)."""
    from torchvision.transforms import InterpolationMode, v2  # takes a second: only where used

    steps: list[Callable[[Tensor], Tensor]] = []
    if policy.scale < 1:
        steps.append(v2.RandomResizedCrop(size, scale=(policy.scale, 1.0), antialias=True))
    if policy.trivial:
        steps.append(v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR))
    if policy.colour:
        of_colours = policy.colour if channels == 3 else 0.0
        steps.append(v2.ColorJitter(policy.colour, policy.colour, of_colours))
    if policy.erase:
        steps.append(v2.RandomErasing(policy.erase))
    if not steps:
        return lambda image_CHW: image_CHW
    return v2.Compose(steps)  # type: ignore[no-any-return]
