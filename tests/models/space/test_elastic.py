"""A space with all searchable dimensions: extracted networks equal their supernet slices."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.nets.evaluate import recalibrate
from models.nets.indicators import block_gamma, bn_indicator
from models.nets.shared_cells import SharedAffine
from models.nets.subnet import ConvNorm
from models.nets.supernet import Supernet, candidate_name, extract
from models.space.architecture import Architecture, Block
from models.space.costs import block_flops, depth
from models.space.operators import OPERATORS, canonical, cells
from models.space.operators.base import Pointwise
from models.space.space import SearchSpace

EVERYTHING = """
name: everything
sizes: [8, 64]
stem: {operator: conv, channels: 6, stride: 1, settings: {kernel: 3, activation: hard_swish}}
stages:
  - layers: 2
    stride: 1
    channels: [4, 6, 9]        # narrower than the stem, as wide, wider
    skip: true
    operators: &everything
      mbconv:
        {kernel: [3, 5, 7], expansion: [1, 2, 3], squeeze_excite: [0, 1], activation: [relu, silu]}
      fused_mbconv:
        {kernel: [3, 5], expansion: [1, 3], squeeze_excite: [0, 1], activation: [relu, hard_swish]}
      split_attention_mbconv:
        {kernel: [3, 5], expansion: [1, 2], splits: [1, 2, 4], activation: [relu, silu]}
      depthwise_separable: {kernel: [3, 7], squeeze_excite: [0, 1]}
      shufflenet_unit: {kernel: [3, 5], xception: [0, 1]}
      residual_basic: {kernel: [3, 5]}
      residual_bottleneck: {kernel: [3, 5], reduction: [2, 4], activation: [relu, silu]}
      conv: {kernel: [1, 3]}
      identity: {}
  - {layers: 2, stride: 2, channels: [5, 8, 12], skip: true, operators: *everything}
head: {operator: classifier, settings: {width: 10, activation: silu}}
"""


def lively(supernet: Supernet) -> Supernet:
    """Randomise all weights, scales, shifts, biases and statistics."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in supernet.state_dict().items():
            if "norms" in name or name.endswith("bias"):
                value.uniform_(0.5, 1.5, generator=generator)
    return supernet


def load(text: str, folder: Path) -> SearchSpace:
    file = folder / "space.yaml"
    file.write_text(text)
    return SearchSpace.load(file, (1, 8, 8), 3)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    return load(EVERYTHING, tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="module")
def supernet(space: SearchSpace) -> Supernet:
    return lively(Supernet(space, torch.Generator().manual_seed(0))).eval()


def sample(space: SearchSpace, seed: int) -> Architecture:
    """A random architecture with uniformly drawn operators."""
    rng, choices = np.random.default_rng(seed), []
    for group in space.groups:
        first = [candidate[0] for candidate in group.candidates]
        kind = rng.choice(sorted(set(first)))
        choices.append(int(rng.choice([i for i, k in enumerate(first) if k == kind])))
    return space.architecture(choices)


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(9))


def test_the_space_reaches_every_operator_and_both_orders_of_channels(space: SearchSpace) -> None:
    blocks = [b for seed in range(200) for b in sample(space, seed).layers if b is not None]
    layers = {name for name, operator in OPERATORS.items() if operator.place == "layer"}
    assert {b.operator for b in blocks} == layers
    for operator in layers:
        orders = {np.sign(b.out_channels - b.in_channels) for b in blocks if b.operator == operator}
        assert orders == {-1, 0, 1}, operator


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_a_subnets_logits_equal_its_slice_of_the_supernet(
    space: SearchSpace, supernet: Supernet, seed: int
) -> None:
    architecture = sample(space, seed)
    assert space.architecture(space.choices(architecture)) == architecture
    with torch.no_grad():
        shared, plain = supernet(images(), architecture), extract(supernet, architecture)(images())
    torch.testing.assert_close(shared, plain, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def learner(supernet: Supernet) -> Supernet:
    return copy.deepcopy(supernet).double().train()


@pytest.mark.slow
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_a_subnet_learns_as_its_slice_of_the_supernet(
    space: SearchSpace, learner: Supernet, seed: int
) -> None:
    """In training mode, in double precision: outputs, and the gradient of every parameter."""
    architecture, shared = sample(space, seed), learner
    shared.zero_grad(set_to_none=True)
    plain = extract(shared, architecture).double()
    outs = shared(images(8).double(), architecture, False), plain(images(8).double())
    torch.testing.assert_close(*outs)
    for out in outs:
        out.square().sum().backward()
    layers = iter(plain.blocks)
    for position, block in enumerate(architecture.blocks):
        if block is None:
            continue
        layer = next(layers)
        for name in cells(block):
            module = shared.shared_block(position, block).cells[name]
            norm = getattr(module, "norms", {candidate_name(block): module})[candidate_name(block)]
            mine = layer.get_submodule(f"cells.{name}")
            other = mine.conv if isinstance(mine, ConvNorm) else mine
            assert isinstance(other, nn.Conv2d | nn.Linear)
            compare(module.weight.grad, other.weight.grad)
            if isinstance(mine, ConvNorm):
                compare(norm.weight.grad, mine.norm.weight.grad)
            else:
                compare(module.bias.grad, other.bias.grad if other.bias is not None else None)


def compare(of_slice: object, of_plain: object) -> None:
    """Gradients of shared weights equal the plain ones in the slice and are 0 elsewhere."""
    assert isinstance(of_slice, Tensor)
    assert isinstance(of_plain, Tensor)
    torch.testing.assert_close(of_slice.norm(), of_plain.norm(), rtol=1e-6, atol=1e-9)
    border = (of_slice.shape[-1] - of_plain.shape[-1]) // 2 if of_plain.dim() == 4 else 0
    used = of_slice[: of_plain.shape[0]]
    if of_plain.dim() > 1:
        used = used[:, : of_plain.shape[1]]
    if border:
        used = used[:, :, border:-border, border:-border]
    torch.testing.assert_close(used, of_plain, rtol=1e-6, atol=1e-9)


def test_fewer_splits_and_narrower_gates_are_the_first_of_more(
    space: SearchSpace, supernet: Supernet
) -> None:
    blocks = [b for b in space.possible()[1] if b.operator == "split_attention_mbconv"]
    one, four = (next(b for b in blocks if b.options["splits"] == splits) for splits in (1, 4))
    module = supernet.shared_block(1, one)
    assert module is supernet.shared_block(1, four)
    assert set(cells(one)) < set(cells(four)) <= set(module.cells)
    gate = module.cells["excite1"]
    assert isinstance(gate, SharedAffine)
    weight_OI11, bias_O = gate.slices_of(Pointwise(3, 5))
    assert torch.equal(weight_OI11, gate.weight[:5, :3])
    assert torch.equal(bias_O, gate.bias[:5])


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_recalibrated_statistics_are_those_of_the_images(
    space: SearchSpace, supernet: Supernet, seed: int
) -> None:
    subnet, means = extract(supernet, sample(space, seed)), {}

    def note(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        means[norm] = inputs[0].mean((0, 2, 3))

    norms = [m for m in subnet.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    recalibrate(subnet, [images(16)])
    for norm, hook in zip(norms, hooks, strict=True):
        hook.remove()
        torch.testing.assert_close(norm.running_mean, means[norm])


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_the_indicator_reads_the_last_norm_of_each_layer_that_computes(
    space: SearchSpace, supernet: Supernet, seed: int
) -> None:
    architecture = sample(space, seed)
    total, layers = 0.0, 0
    for layer in list(extract(supernet, architecture).blocks)[1:-1]:
        norms = [m for m in layer.modules() if isinstance(m, nn.BatchNorm2d)]
        if norms:
            total += float(norms[-1].weight.detach().abs().mean())
            layers += 1
    assert depth(architecture) == layers
    assert bn_indicator(supernet, architecture) == pytest.approx(total, rel=1e-5)
    per_layer = bn_indicator(supernet, architecture, per_layer=True)
    assert per_layer == pytest.approx(total / max(1, layers), rel=1e-5)


def test_an_identity_that_keeps_its_shape_scores_as_a_skip(
    space: SearchSpace, supernet: Supernet
) -> None:
    identities = [b for b in space.possible()[2] if b.operator == "identity"]
    assert identities
    assert all(block_gamma(supernet, 2, block) == 0 for block in identities)


@pytest.mark.slow
def test_private_weights_are_one_module_a_candidate(tmp_path: Path) -> None:
    private = load(EVERYTHING + "weights: private\n", tmp_path)
    supernet = lively(Supernet(private, torch.Generator().manual_seed(0))).eval()
    candidates = {(b.operator, candidate_name(b)) for b in private.possible()[1]}
    assert set(supernet.positions[1]) == {f"{o}-{c}" for o, c in candidates}  # type: ignore[arg-type]
    assert len(candidates) > 60
    for seed in range(20):
        architecture = sample(private, seed)
        with torch.no_grad():
            shared = supernet(images(), architecture)
            plain = extract(supernet, architecture)(images())
        torch.testing.assert_close(shared, plain, rtol=1e-4, atol=1e-5)


def test_with_private_weights_a_step_changes_one_candidate(tmp_path: Path) -> None:
    private = load(EVERYTHING + "weights: private\n", tmp_path)
    supernet = Supernet(private, torch.Generator().manual_seed(0)).train()
    architecture = private.extreme(block_flops, largest=True)
    supernet(images(8), architecture).square().sum().backward()
    learning = {n.split(".")[2] for n, p in supernet.named_parameters() if p.grad is not None}
    present = {f"{b.operator}-{candidate_name(b)}" for b in architecture.present}
    assert learning == present


class Resized:
    """A minimal space for a supernet, with a resize before the stem."""

    name, private_weights = "resized", False

    def __init__(self) -> None:
        self.resizes = tuple(Block("resize", 1, 1, 12, 1, (("to", to),)) for to in (8, 10, 12))

    def of(self, resize: Block) -> Architecture:
        size = resize.out_size
        stem = Block("conv", 1, 6, size, 2, (("kernel", 3),))
        layer = Block("mbconv", 6, 6, size // 2, 1, (("expansion", 2), ("kernel", 3)))
        head = Block("classifier", 6, 3, size // 2, 1, canonical("classifier", {"width": 8}))
        return Architecture((resize, stem, layer, head))

    def possible(self) -> tuple[tuple[Block, ...], ...]:
        networks = [self.of(resize).present for resize in self.resizes]
        return tuple(zip(*networks, strict=True))


def test_resolutions_share_all_weights_and_norms() -> None:
    space = Resized()
    supernet = lively(Supernet(space, torch.Generator().manual_seed(0))).eval()  # type: ignore[arg-type]
    x_NCHW = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    for resize in space.resizes:
        architecture = space.of(resize)
        with torch.no_grad():
            shared, plain = supernet(x_NCHW, architecture), extract(supernet, architecture)(x_NCHW)
        torch.testing.assert_close(shared, plain, rtol=1e-4, atol=1e-5)
        assert architecture.short() == f"{resize.out_size}px | 6 k3e2"
        assert bn_indicator(supernet, architecture) == block_gamma(
            supernet,
            2,
            architecture.blocks[2],  # type: ignore[arg-type]
        )
