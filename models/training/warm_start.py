"""Warm start of a network's training from supernet weights."""

from __future__ import annotations

import torch

from models.nets.subnet import Subnet


@torch.no_grad()
def shrink_and_perturb(network: Subnet, share: float, generator: torch.Generator) -> None:
    """Replace every parameter by `share * parameter + (1 - share) * random`, in place.

    Training from converged weights generalises worse than from random ones; shrink and perturb
    avoids that and keeps the faster start (Ash and Adams 2020, "On Warm-Starting Neural Network
    Training", section 4).

    Args:
        network: the slice to start from; running statistics are kept.
        share: of the slice; 1 keeps the network, 0 starts from scratch.
        generator: of the random weights.
    """
    if share == 1:
        return
    fresh = Subnet(network.architecture, generator)
    for mine, new in zip(network.parameters(), fresh.parameters(), strict=True):
        mine.mul_(share).add_(new, alpha=1 - share)
