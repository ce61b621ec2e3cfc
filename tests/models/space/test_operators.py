"""Tests of single operators: shapes, costs, settings."""

import itertools
import math
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.nets.evaluate import fold_batch_norms
from models.nets.subnet import PlainBlock, Subnet, initialise
from models.space.architecture import Architecture, Block
from models.space.costs import block_activation_bytes, block_flops, block_parameters
from models.space.operators import OPERATORS, canonical, has_gate
from models.space.operators.base import OperatorError


def setting(block: Block, name: str) -> int | float | str:
    return OPERATORS[block.operator].setting(block, name)


LAYERS = [name for name, operator in OPERATORS.items() if operator.place == "layer"]
FLOAT32 = 4


def block(operator: str, shape: tuple[int, int, int, int], **given: object) -> Block:
    """A block of (input channels, output channels, size, stride)."""
    before, after, size, stride = shape
    return Block(operator, before, after, size, stride, canonical(operator, given))  # type: ignore[arg-type]


@st.composite
def blocks(draw: st.DrawFn, operators: tuple[str, ...] = tuple(OPERATORS)) -> Block:
    """Any small block of the table."""
    name = draw(st.sampled_from(operators))
    options = {k: draw(st.sampled_from(v)) for k, v in OPERATORS[name].settings.items()}
    before, after = draw(st.integers(4, 11)), draw(st.integers(4, 11))
    size, stride = draw(st.integers(1, 9)), draw(st.sampled_from((1, 2)))
    if draw(st.booleans()):
        after = before
    if name == "resize":
        after, stride, options = before, 1, {"to": draw(st.integers(8, 20))}
    if name == "classifier":
        stride, options = 1, options | {"width": draw(st.integers(8, 20))}
    return block(name, (before, after, size, stride), **options)


def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with random weights, biases, norms and statistics."""
    generator = torch.Generator().manual_seed(seed)
    initialise(module, generator)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if ("norm" in name and value.is_floating_point()) or name.endswith("bias"):
                value.uniform_(0.5, 1.5, generator=generator)
    return module


def plain(block: Block, seed: int = 0) -> PlainBlock:
    module = lively(PlainBlock(block), seed)
    assert isinstance(module, PlainBlock)
    return module


def images(block: Block, count: int = 2) -> Tensor:
    shape = (count, block.in_channels, block.size, block.size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_the_pool_has_at_least_thirty_two_operators_with_their_settings() -> None:
    forms = [math.prod(map(len, OPERATORS[name].settings.values())) for name in LAYERS]
    assert sum(forms) >= 32


@given(blocks())
@settings(deadline=None, max_examples=100)
def test_costs_are_those_of_an_independent_count(block: Block) -> None:
    module, counted = plain(block).eval(), 0

    def count(layer: nn.Module, _: object, out: Tensor) -> None:
        nonlocal counted
        weight = layer.weight
        assert isinstance(weight, Tensor)
        counted += out[0].numel() * weight[0].numel()

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    out = module(images(block, 1))
    assert block_flops(block) == counted
    assert block_parameters(block) == sum(p.numel() for p in module.parameters() if p.requires_grad)
    expected = (1, block.out_channels, block.out_size, block.out_size)
    assert out.shape == (expected[:2] if block.operator == "classifier" else expected)


@given(blocks())
@settings(deadline=None, max_examples=60)
def test_a_block_has_a_gradient_for_its_input_and_every_parameter(block: Block) -> None:
    module, x_NCHW = plain(block).train(), images(block, 4).requires_grad_()
    before = x_NCHW.detach().clone()
    module(x_NCHW).square().sum().backward()
    assert x_NCHW.grad is not None
    assert all(p.grad is not None for p in module.parameters())
    assert torch.equal(x_NCHW.detach(), before)  # in-place ops never modify the input


@given(blocks())
@settings(deadline=None, max_examples=60)
def test_folding_batch_norms_changes_no_output(block: Block) -> None:
    module = plain(block).eval()
    x_NCHW = images(block)
    with torch.no_grad():
        torch.testing.assert_close(
            fold_batch_norms(module)(x_NCHW), module(x_NCHW), rtol=1e-4, atol=1e-4
        )


def peak_by_hand(block: Block) -> int:
    """The peak of live tensors, derived by hand per operator: values for one image."""
    source = block.in_channels * block.size**2
    result = block.out_channels * block.out_size**2
    kept = source if block.keeps_shape else 0  # the input waits for the residual sum
    small, large = block.out_size**2, block.size**2
    if block.operator in ("conv", "identity"):
        return source if block.operator == "identity" and kept else source + result
    if block.operator == "depthwise_separable":
        hidden = block.in_channels * small
        return max(source + hidden, hidden + result)
    if block.operator == "residual_basic":
        shortcut = result if not kept else 0
        return max(source + result + result, result + shortcut + kept)
    if block.operator == "residual_bottleneck":
        reduced = block.out_channels // int(setting(block, "reduction"))
        steps = (
            source + reduced * large,
            source + reduced * (large + small),  # the shortcut reads the input at the end
            source + reduced * small + result,
            source + result + (0 if kept else result),
        )
        return max(steps)
    assert block.operator == "mbconv"
    expansion = int(setting(block, "expansion"))
    hidden = block.in_channels * expansion
    steps = (
        source + (hidden * large if expansion > 1 else 0),
        (hidden * large if expansion > 1 else source - kept) + hidden * small + kept,
        hidden * small + result + kept,
    )
    return max(steps)


BY_HAND = ("conv", "identity", "depthwise_separable", "residual_basic", "residual_bottleneck")


@given(blocks((*BY_HAND, "mbconv")))
@settings(deadline=None, max_examples=100)
def test_the_peak_of_live_tensors_is_that_written_out_by_hand(block: Block) -> None:
    if not setting_or(block, "squeeze_excite", 0):
        assert block_activation_bytes(block) == FLOAT32 * peak_by_hand(block)


def setting_or(block: Block, name: str, otherwise: int) -> object:
    known = OPERATORS[block.operator].settings
    return setting(block, name) if name in known else otherwise


def test_a_gate_and_its_splits_are_part_of_the_peak() -> None:
    hidden = 4 * 8 * 10**2
    gated = block("mbconv", (8, 8, 10, 1), kernel=3, expansion=4, squeeze_excite=1)
    # Input, hidden map, gate values, gated map.
    assert block_activation_bytes(gated) == FLOAT32 * (8 * 10**2 + 2 * hidden + 4 * 8)
    for splits in (2, 4):
        split = block("split_attention_mbconv", (8, 8, 10, 1), kernel=3, expansion=4, splits=splits)
        # Input, maps of all splits, weights of all splits, weighted sum.
        expected = 8 * 10**2 + (splits + 1) * hidden + splits * 4 * 8
        assert block_activation_bytes(split) == FLOAT32 * expected


@given(blocks())
@settings(deadline=None, max_examples=60)
def test_the_peak_holds_the_input_and_the_output_at_their_real_sizes(block: Block) -> None:
    source = block.in_channels * block.size**2
    result = block.out_channels * (1 if block.operator == "classifier" else block.out_size**2)
    assert block_activation_bytes(block) >= FLOAT32 * max(source, result)
    # Only heights and widths scale with the image size.
    if block.operator != "resize":
        larger, largest = (
            block_activation_bytes(replace(block, size=block.size * 2 * factor))
            for factor in (2, 4)
        )
        assert 3 * larger < largest <= 4 * larger


def test_the_peak_of_a_resize_is_both_images() -> None:
    assert block_activation_bytes(block("resize", (3, 3, 20, 1), to=12)) == FLOAT32 * 3 * (
        400 + 144
    )
    assert block_activation_bytes(block("resize", (3, 3, 20, 1), to=20)) == FLOAT32 * 3 * 400


@given(blocks(("mbconv",)))
@settings(deadline=None, max_examples=30)
def test_one_split_is_squeeze_excite(block: Block) -> None:
    options = {n: setting(block, n) for n in ("kernel", "expansion", "activation")}
    shape = (block.in_channels, block.out_channels, block.size, block.stride)
    gated = plain(_block("mbconv", shape, options | {"squeeze_excite": 1})).eval()
    split = plain(_block("split_attention_mbconv", shape, options | {"splits": 1})).eval()
    weights = {k.replace("depthwise.", "depthwise1."): v for k, v in gated.state_dict().items()}
    split.load_state_dict(weights)
    torch.testing.assert_close(split(images(block)), gated(images(block)))


@given(blocks(("mbconv",)), st.sampled_from((2, 4)))
@settings(deadline=None, max_examples=30)
def test_the_shares_of_equal_splits_add_up_to_one(block: Block, splits: int) -> None:
    options = {n: setting(block, n) for n in ("kernel", "expansion", "activation")}
    shape = (block.in_channels, block.out_channels, block.size, block.stride)
    single = plain(_block("mbconv", shape, options)).eval()
    split = plain(_block("split_attention_mbconv", shape, options | {"splits": splits}), 3).eval()
    mine = single.state_dict()
    sources = {k: re.sub(r"depthwise\d", "depthwise", k) for k in split.state_dict()}
    weights = {k: mine[source] for k, source in sources.items() if source in mine}
    split.load_state_dict(weights, strict=False)
    with torch.no_grad():
        torch.testing.assert_close(split(images(block)), single(images(block)))


def _block(operator: str, shape: tuple[int, int, int, int], options: dict[str, object]) -> Block:
    return block(operator, shape, **options)


@pytest.mark.parametrize("channels", [2, 7, 8])
@pytest.mark.parametrize("xception", [0, 1])
def test_a_shufflenet_unit_lets_every_second_channel_pass(channels: int, xception: int) -> None:
    unit = block("shufflenet_unit", (channels, channels, 6, 1), kernel=3, xception=xception)
    x_NCHW = images(unit)
    out_NCHW = plain(unit).eval()(x_NCHW)
    assert torch.equal(out_NCHW[:, : (channels + 1) // 2], x_NCHW[:, 0::2])
    assert out_NCHW.shape == x_NCHW.shape


def test_an_identity_is_nothing_or_a_linear_map() -> None:
    keeps = block("identity", (6, 6, 5, 1))
    assert (block_flops(keeps), block_parameters(keeps)) == (0, 0)
    x_NCHW = images(keeps)
    assert torch.equal(plain(keeps)(x_NCHW), x_NCHW)
    changes = plain(block("identity", (6, 9, 5, 2))).eval()
    twice = changes(2 * x_NCHW) - changes(0 * x_NCHW)
    torch.testing.assert_close(twice, 2 * (changes(x_NCHW) - changes(0 * x_NCHW)))


def test_a_resize_keeps_a_constant_image_and_the_networks_image_shape() -> None:
    resize = block("resize", (1, 1, 12, 1), to=9)
    constant = torch.full((1, 1, 12, 12), 0.7)
    torch.testing.assert_close(PlainBlock(resize)(constant), torch.full((1, 1, 9, 9), 0.7))
    stem = block("conv", (1, 4, 9, 2), kernel=3)
    head = block("classifier", (4, 3, 5, 1), width=8)
    network = Architecture((resize, stem, None, head))
    assert network.image_shape == (1, 12, 12)
    assert (network.first_layer, network.layers) == (2, (None,))
    assert Subnet(network).eval()(images(resize)).shape == (2, 3)


def test_shapes_that_an_operator_cannot_take_are_named() -> None:
    for wrong, match in (
        (block("shufflenet_unit", (1, 4, 8, 1), kernel=3), "at least 2 channels"),
        (block("residual_bottleneck", (4, 1, 8, 1), kernel=3, reduction=2), "leaves no channel"),
        (block("resize", (1, 2, 8, 1), to=9), "needs equal channels"),
    ):
        with pytest.raises(OperatorError, match=match):
            block_flops(wrong)


def test_a_block_never_stores_a_default() -> None:
    plainest = {"kernel": 3, "expansion": 6}
    full = plainest | {"squeeze_excite": 0, "activation": "relu"}
    assert canonical("mbconv", full) == canonical("mbconv", plainest)
    assert canonical("mbconv", plainest) == (("expansion", 6), ("kernel", 3))
    block = _block("mbconv", (4, 4, 8, 1), full)
    assert (
        setting(block, "activation"),
        setting(block, "expansion"),
    ) == ("relu", 6)


def test_short_names_of_operators_and_settings_are_unique() -> None:
    shown: dict[str, Block] = {}
    for name in LAYERS:
        for values in itertools.product(*OPERATORS[name].settings.values()):
            options = dict(zip(OPERATORS[name].settings, values, strict=True))
            layer = _block(name, (8, 8, 6, 1), options)
            stem = block("conv", (1, 8, 12, 2), kernel=3)
            head = block("classifier", (8, 3, 6, 1), width=8)
            text = Architecture((stem, layer, None, head)).short()
            assert text not in shown, (shown[text], layer)
            shown[text] = layer
    for text in (
        "8 k3e6 -",
        "8 k5e3se1-hard_swish -",
        "8 fused_mbconv:k3e2 -",
        "8 split_attention_mbconv:k7e4s4-silu -",
        "8 identity -",
        "8 conv:k1 -",
    ):
        assert text in shown


def test_gates_are_found_whatever_their_operator() -> None:
    shape = (8, 8, 6, 1)
    assert not has_gate(block("mbconv", shape, kernel=3, expansion=2))
    assert not has_gate(block("shufflenet_unit", shape, kernel=3))
    assert has_gate(block("mbconv", shape, kernel=3, expansion=2, squeeze_excite=1))
    assert has_gate(block("split_attention_mbconv", shape, kernel=3, expansion=2, splits=1))
