"""Where a network's training starts: between the supernet's weights and fresh ones."""

from __future__ import annotations

import torch

from models.subnet import Subnet


@torch.no_grad()
def shrink_and_perturb(network: Subnet, share: float, generator: torch.Generator) -> None:
    """Replace every trained parameter by `share * parameter + (1 - share) * fresh`, in place.

    Training on from converged weights ends worse than training from fresh ones although it
    begins better; shrinking them and adding fresh noise keeps the start and restores the end
    (Ash and Adams 2020, "On Warm-Starting Neural Network Training", section 4).

    Args:
        network: the slice to start from; its batch norms' running statistics stay.
        share: of the slice; 1 leaves the network as it is, 0 starts from scratch.
        generator: of the fresh weights.
    """
    if share == 1:
        return
    fresh = Subnet(network.architecture, generator)
    for mine, new in zip(network.parameters(), fresh.parameters(), strict=True):
        mine.mul_(share).add_(new, alpha=1 - share)
