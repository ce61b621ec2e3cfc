"""The memory of a supernet's step depends on the sampled network, not on the candidates."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.memory import peak_bytes
from models.nets.supernet import Supernet, extract
from models.space.costs import block_flops
from models.space.space import SearchSpace
from models.space.spec import SpaceSpec


def space(kernels: list[int], expansions: list[int], channels: list[int]) -> SearchSpace:
    """Spaces with the same largest network."""
    stage = {
        "layers": 3,
        "stride": 2,
        "channels": channels,
        "skip": True,
        "operators": {"mbconv": {"kernel": kernels, "expansion": expansions}},
    }
    spec = {
        "name": "grown",
        "sizes": (8, 64),
        "stem": {"operator": "conv", "channels": 8, "stride": 1, "settings": {"kernel": 3}},
        "stages": [stage],
        "head": {"operator": "classifier", "settings": {"width": 32}},
    }
    return SearchSpace(SpaceSpec.model_validate(spec), (1, 16, 16), 10)


FEW = space([5], [6], [24])
MANY = space([3, 5], [1, 2, 3, 4, 5, 6], [8, 12, 16, 20, 24])
IMAGES = torch.randn(64, 1, 16, 16).contiguous(memory_format=torch.channels_last)
LABELS = torch.arange(64) % 10


def step(module: nn.Module, **arguments: object) -> int:
    def work() -> None:
        functional.cross_entropy(module(IMAGES, **arguments), LABELS).backward()
        module.zero_grad(set_to_none=True)

    return peak_bytes(work)


def supernet_step(grown: SearchSpace) -> tuple[int, int]:
    """Peaks of the largest network's step in the supernet and as a plain network."""
    supernet = Supernet(grown, torch.Generator().manual_seed(0)).train()
    largest = grown.extreme(block_flops, largest=True)
    return step(supernet, architecture=largest), step(extract(supernet, largest).train())


def test_allocations_are_counted_exactly() -> None:
    a = torch.zeros(1000, 250)

    def work() -> Tensor:
        b = a + 1  # 1 MB
        c = b + 1  # 2 MB at once
        del b
        return c + 1  # 2 MB again

    assert peak_bytes(work) == pytest.approx(2 * a.nbytes, abs=4096)
    assert peak_bytes(lambda: None) == 0


@pytest.mark.slow
def test_a_step_needs_what_the_same_plain_network_needs() -> None:
    shared, plain = supernet_step(FEW)
    assert shared == pytest.approx(plain, rel=0.02)


def test_candidates_beside_the_sampled_path_need_nothing() -> None:
    few, many = supernet_step(FEW)[0], supernet_step(MANY)[0]
    assert FEW.count() * 100 < MANY.count()
    assert many == pytest.approx(few, rel=0.01)
