from pathlib import Path

import numpy as np
import pytest
import torch

from models.nets.subnet import Subnet
from models.space.space import SearchSpace
from models.training.warm_start import shrink_and_perturb

SPACE = Path(__file__).parents[3] / "models/spaces/compact.yaml"


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_start_lies_between_the_slice_and_fresh_weights(share: float) -> None:
    architecture = SearchSpace.load(SPACE, (1, 28, 28), 10).sample(np.random.default_rng(0))
    network = Subnet(architecture, torch.Generator().manual_seed(1))
    before = [parameter.clone() for parameter in network.parameters()]
    fresh = list(Subnet(architecture, torch.Generator().manual_seed(2)).parameters())
    shrink_and_perturb(network, share, torch.Generator().manual_seed(2))
    for old, new, found in zip(before, fresh, network.parameters(), strict=True):
        torch.testing.assert_close(found, share * old + (1 - share) * new)
