import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from core.errors import UserError
from models.nets.shared_cells import SharedConvNorm
from models.nets.supernet import Supernet, extract
from models.space.architecture import Architecture, Block
from models.space.costs import block_flops
from models.space.space import SearchSpace
from tests.spaces import architecture_at


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def trained(small: SearchSpace) -> Supernet:
    """A briefly trained supernet, so that no weight, scale or statistic is at its initial value."""
    supernet = Supernet(small, seeded()).train()
    optimizer = torch.optim.SGD(supernet.parameters(), 0.05, momentum=0.9)
    rng = np.random.default_rng(0)
    for step in range(40):
        images = torch.randn(16, 1, 12, 12, generator=seeded(step))
        labels = torch.randint(0, 5, (16,), generator=seeded(step))
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(supernet(images, small.sample(rng)), labels).backward()
        optimizer.step()
    return supernet.eval()


def first_kernels(space: SearchSpace, *kernels: int) -> list[Architecture]:
    """Architectures that differ only in the kernel of the first layer."""
    wanted = {f"operator=mbconv,mbconv.kernel={k},mbconv.expansion=2" for k in kernels}
    group = next(i for i, g in enumerate(space.groups) if g.name == "stage1.layer1")
    found = []
    for candidate in range(len(space.groups[group].candidates)):
        if space.groups[group].label(candidate) in wanted:
            choices = [0] * len(space.groups)
            choices[group] = candidate
            found.append(space.architecture(choices))
    assert len(found) == len(kernels)
    return found


def test_a_subnets_logits_equal_the_supernets(trained: Supernet, small: SearchSpace) -> None:
    rng = np.random.default_rng(1)
    images = torch.randn(8, 1, 12, 12, generator=seeded(99))
    everything = [small.sample(rng) for _ in range(25)]
    everything += [small.extreme(block_flops), small.extreme(block_flops, largest=True)]
    for architecture in everything:
        with torch.no_grad():
            shared, plain = trained(images, architecture), extract(trained, architecture)(images)
        torch.testing.assert_close(shared, plain, rtol=1e-4, atol=1e-5)


def test_a_subnet_trains_as_its_path_in_the_supernet(trained: Supernet, small: SearchSpace) -> None:
    """In training mode too, and the gradients are the slices of the supernet's."""
    architecture = small.sample(np.random.default_rng(3))
    images = torch.randn(8, 1, 12, 12, generator=seeded(5))
    # In double precision: batch norms over few images amplify rounding in the gradients.
    supernet, images = copy.deepcopy(trained).train().double(), images.double()
    subnet = extract(supernet, architecture).double()
    plain, shared = subnet(images), supernet(images, architecture, update_statistics=False)
    torch.testing.assert_close(shared, plain)
    plain.square().sum().backward()
    shared.square().sum().backward()
    stem = supernet.positions[0]["conv"].cells["conv"].weight.grad
    torch.testing.assert_close(stem, subnet.blocks[0].cells["conv"].conv.weight.grad)


def test_weights_are_shared_and_batch_norms_are_private(small: SearchSpace) -> None:
    supernet = Supernet(small, seeded()).train()
    narrow, wide = first_kernels(small, 3, 5)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1)
    supernet(torch.randn(8, 1, 12, 12, generator=seeded(1)), narrow).square().sum().backward()
    optimizer.step()
    changed = {n for n, v in supernet.state_dict().items() if not torch.equal(v, before[n])}
    first = {n for n in changed if n.startswith("positions.1.")}
    assert "positions.1.mbconv.cells.expand.weight" in first  # both candidates use it
    assert any("norms.expansion2-kernel3." in name for name in first)
    assert not any("norms.expansion2-kernel5." in name for name in first)
    subnet = extract(supernet, wide)
    expand = supernet.state_dict()["positions.1.mbconv.cells.expand.weight"]
    plain = subnet.blocks[1].cells["expand"].conv.weight
    assert torch.equal(plain, expand[: plain.shape[0], : plain.shape[1]])


def test_smaller_kernels_are_the_centre_of_larger_ones(small: SearchSpace) -> None:
    supernet = Supernet(small, seeded())
    three, seven = (
        extract(supernet, a).blocks[1].cells["depthwise"].conv.weight
        for a in first_kernels(small, 3, 7)
    )
    assert torch.equal(three, seven[:, :, 2:5, 2:5])


def test_statistics_are_updated_only_on_request(small: SearchSpace) -> None:
    supernet = Supernet(small, seeded()).train()
    architecture = small.sample(np.random.default_rng(0))
    images = torch.randn(8, 1, 12, 12, generator=seeded(1))
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    supernet(images, architecture, update_statistics=False)
    assert all(torch.equal(v, before[n]) for n, v in supernet.state_dict().items())
    supernet(images, architecture)
    assert any(not torch.equal(v, before[n]) for n, v in supernet.state_dict().items())


def test_extracting_copies_and_leaves_the_supernet_alone(small: SearchSpace) -> None:
    supernet = Supernet(small, seeded())
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    subnet = extract(supernet, small.extreme(block_flops, largest=True))
    with torch.no_grad():
        for parameter in subnet.parameters():
            parameter.add_(1)
    assert all(torch.equal(v, before[n]) for n, v in supernet.state_dict().items())


def test_the_generator_alone_decides_the_initial_weights(small: SearchSpace) -> None:
    torch.manual_seed(1)
    first = Supernet(small, seeded(7)).state_dict()
    torch.manual_seed(2)
    second = Supernet(small, seeded(7)).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_an_architecture_of_another_space_is_refused(small: SearchSpace, tiny: SearchSpace) -> None:
    supernet = Supernet(small, seeded())
    stranger = architecture_at(tiny, 0)
    with pytest.raises(UserError, match="not in the supernet of space 'small'"):
        supernet(torch.zeros(2, 1, 12, 12), stranger)
    with pytest.raises(UserError, match="not in the supernet of space 'small'"):
        extract(supernet, stranger)
    with pytest.raises(UserError, match="at position 0"):
        supernet.shared_block(0, Block("conv", 1, 9, 12, 2, (("kernel", 3),)))


def test_shared_weights_have_the_largest_shape_and_no_larger(small: SearchSpace) -> None:
    supernet = Supernet(small, seeded())
    cell = supernet.positions[1]["mbconv"].cells["depthwise"]
    assert isinstance(cell, SharedConvNorm)
    assert cell.weight.shape == (24, 1, 7, 7)  # 8 channels from the stem, expanded by 3
    assert cell.norms["expansion1-kernel3"].weight.shape == (8,)
