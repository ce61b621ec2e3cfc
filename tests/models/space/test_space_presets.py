"""Presets: sizes, and comparison with published values."""

import json
import os
from pathlib import Path

import pytest

from models.space.architecture import Architecture
from models.space.costs import block_flops, depth, flops, parameters
from models.space.file import PRESETS, read_spec
from models.space.operators import has_gate
from models.space.space import SearchSpace
from tests.spaces import architecture_at

TABLE = "NETWRIGHT_NAS_BENCH_MACRO"


def preset(name: str) -> SearchSpace:
    spec = read_spec(PRESETS / f"{name}.yaml")
    images = spec.shown_images
    return SearchSpace(spec, (images.channels, images.size, images.size), images.classes)


MACRO = preset("macro")
# Published by NAS-Bench-Macro: digits of a network, parameters and FLOPs.
ANCHORS = """
00000000  387882   7713280
10000000  396298  12128768
20000000  409834  17854976
01000000  415082  14447104
00100000  419050  12018176
00010000  491434  14225920
00000100  507562  11962880
11111111 1588874  53246464
22222222 2932586 105660928
"""


def macro(digits: str) -> Architecture:
    """The network that NAS-Bench-Macro names by eight digits."""
    return architecture_at(MACRO, int(digits, 3))


def test_macro_is_the_space_of_nas_bench_macro() -> None:
    assert MACRO.count() == 6561
    assert MACRO.private_weights
    assert (MACRO.image_shape, MACRO.classes) == ((3, 32, 32), 10)
    assert [layer.strides for layer in MACRO.layers] == [(s,) for s in (2, 1, 2, 1, 1, 2, 1, 1)]
    widths = [block.out_channels for block in macro("22222222").blocks]
    assert widths == [32, 64, 64, 128, 128, 128, 256, 256, 256, 10]


def test_a_macro_networks_digits_are_its_operators() -> None:
    blocks = macro("01202100").layers
    names = ["identity", "mbconv k3 e3", "mbconv k5 e6"]
    settings = [{}, {"kernel": 3, "expansion": 3}, {"kernel": 5, "expansion": 6}]
    for digit, block in zip("01202100", blocks, strict=True):
        assert block.operator == names[int(digit)].split()[0]
        assert block.options == settings[int(digit)]


@pytest.mark.parametrize("row", ANCHORS.split("\n")[1:-1])
def test_macro_networks_cost_what_is_published(row: str) -> None:
    digits, params, macs = row.split()
    assert (parameters(macro(digits)), flops(macro(digits))) == (int(params), int(macs))


@pytest.mark.skipif(TABLE not in os.environ, reason=f"{TABLE}: the published table is not given")
def test_every_macro_network_costs_what_is_published() -> None:
    table = json.loads(Path(os.environ[TABLE]).read_text())
    assert len(table) == 6561
    ours = {d: (parameters(macro(d)), flops(macro(d))) for d in table}
    assert ours == {digits: (row["params"], row["flops"]) for digits, row in table.items()}


def test_bn_nas_has_21_layers_of_six_operators() -> None:
    space = preset("bn-nas")
    assert space.count() == 6**21
    sizes = [len(group.candidates) for group in space.groups if ".layer" in group.name]
    assert sizes == [1] + [6] * 21
    assert not any("skip" in variable.options for g in space.groups for variable in g.variables)


def test_a_bn_nas_network_costs_what_its_authors_log_says() -> None:
    """Their training log: 5.228536 M parameters and 473.549240 M FLOPs.

    The network leaves out four layers, as their comparison with another method does, so the
    space is given skips here. Their FLOPs count the additions of the fully connected layer apart
    from its multiplications: 1728 - 1 for each of 1,000 classes.
    """
    choices = [3, None, 0, 4, 0, None, None, 0, 4, None, 4, 4, 1, 4, 2, 0, 0, 4, 0, 2, 2]
    spec = read_spec(PRESETS / "bn-nas.yaml")
    stages = [stage.model_copy(update={"skip": True}) for stage in spec.stages]
    space = SearchSpace(spec.model_copy(update={"stages": stages}), (3, 224, 224), 1000)
    taken = [0] * len(space.groups)
    for layer, choice in zip(space.layers[1:], choices, strict=True):
        options = len(space.groups[layer.group].candidates)
        taken[layer.group] = options - 1 if choice is None else choice
    architecture = space.architecture(taken)
    assert [block is None for block in architecture.layers[1:]] == [c is None for c in choices]
    assert parameters(architecture) == 5_228_536
    assert flops(architecture) + (1728 - 1) * 1000 == 473_549_240


def test_fbnet_is_wide_deep_and_affordable() -> None:
    space = preset("fbnet")
    assert space.count() >= 10**20
    assert space.image_shape == (3, 224, 224)
    variables = {v.name: set(v.options) for g in space.groups for v in g.variables}
    assert variables["resolution"] == {160, 192, 224}
    assert variables["split_attention_mbconv.splits"] == {1, 2, 4}
    assert variables["mbconv.activation"] == {"relu", "hard_swish"}
    gates = [v for g in space.groups for v in g.variables if v.name == "mbconv.squeeze_excite"]
    assert {v.options for v in gates} == {(0, 1)}
    assert sum("skip" in v.options for g in space.groups for v in g.variables) == 22
    # The number of blocks does not grow with the number of architectures.
    assert len(space.blocks()) < 10_000
    assert sum(map(len, space.possible())) < 20_000


def test_fox_has_five_stages_of_two_to_four_layers_that_suit_int8() -> None:
    space = preset("fox")
    # 12 operators in two layers of a stage, 12 and none in the two others.
    assert space.count() == (12**2 * 13**2) ** 5
    deep, shallow = ([n * (len(g.candidates) - 1) for g in space.groups] for n in (0, 1))
    assert depth(space.architecture(deep)) == 5 * 4
    assert depth(space.architecture(shallow)) == 5 * 2
    settings = {name for block in space.blocks() for name, _ in block.settings}
    assert settings == {"kernel", "expansion", "width"}


def test_compact_keeps_its_networks() -> None:
    """Ids and latency-table keys of existing releases."""
    space = preset("compact")
    assert space.count() == 291_600_000
    ids = [architecture_at(space, n).id for n in (0, 1, 12_345_678, space.count() - 1)]
    assert ids == ["67572f99ca1d", "dbf2079a2ded", "7718e680883b", "2f30cdbc452e"]
    assert len(space.blocks()) == 116
    assert space.blocks()[1].key == "mbconv 16->12 14px /1 expansion=3 kernel=3"
    assert [group.name for group in space.groups[:3]] == [
        "stage1.channels", "stage1.layer1", "stage1.layer2",
    ]  # fmt: skip


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (3, 96)])
def test_wide_takes_every_size_and_budgets_bind(channels: int, size: int) -> None:
    space = SearchSpace(read_spec(PRESETS / "wide.yaml"), (channels, size, size), 10)
    least, most = (flops(space.extreme(block_flops, largest)) for largest in (False, True))
    pixels = (size / 32) ** 2
    assert least < 0.3e6 * pixels
    assert most > 150e6 * pixels
    # Rows of a latency table.
    assert len(space.blocks()) < 1500
    variables = {variable.name: variable.options for variable in space.groups[0].variables}
    assert len(variables["strides"]) == 3
    assert variables["resolution"][1] == size


def test_wide_has_kernels_expansions_gates_and_fused_blocks() -> None:
    space = preset("wide")
    blocks = [block for block in space.blocks() if block.operator in ("mbconv", "fused_mbconv")]
    assert {block.options["kernel"] for block in blocks} == {3, 5, 7}
    assert {block.options["expansion"] for block in blocks} == {1, 2, 3, 4, 6}
    assert any(has_gate(block) for block in blocks)
    for stage in space.spec.stages:
        assert max(stage.channels) >= 3 * min(stage.channels)
        assert stage.fixed_layers == 1 < stage.layers
    fused = {n for n, s in enumerate(space.spec.stages) if "fused_mbconv" in s.operators}
    assert fused == {0, 1}


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [("lite", 4_652_008, 385_187_552), ("mobilenet-v2", 3_504_872, 300_774_272)],
)
def test_the_largest_network_of_an_elastic_preset_is_the_published_one(
    name: str, params: int, macs: int
) -> None:
    """4.7 M and 3.5 M parameters, as their authors say; no gate and no unfriendly activation."""
    space = SearchSpace(read_spec(PRESETS / f"{name}.yaml"), (3, 224, 224), 1000)
    largest = space.extreme(block_flops, largest=True)
    assert parameters(largest) == params
    assert flops(largest) == macs
    assert flops(space.extreme(block_flops)) < 0.08 * macs
    settings = {block.options.get("activation") for block in space.blocks()}
    assert settings == {"relu6", None}
    assert not any(has_gate(block) for block in space.blocks())
    assert len(space.blocks()) < 1500


def test_every_preset_is_named_like_its_file() -> None:
    names = {file.stem: read_spec(file).name for file in PRESETS.glob("*.yaml")}
    assert names.keys() >= {
        "compact",
        "macro",
        "wide",
        "bn-nas",
        "fbnet",
        "fox",
        "lite",
        "mobilenet-v2",
    }
    assert all(file == name for file, name in names.items())


def test_reading_a_space_twice_gives_equal_descriptions() -> None:
    first, second = (read_spec(PRESETS / "fbnet.yaml") for _ in range(2))
    assert first == second


def test_the_example_in_the_documentation_is_a_space(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "search-spaces.md").read_text()
    start = text.index("    name: my-space")
    block = text[start : text.index("\n\n", start)]
    file = tmp_path / "my-space.yaml"
    file.write_text("\n".join(line.removeprefix("    ") for line in block.splitlines()))
    space = SearchSpace.load(file, (3, 64, 64), 10)
    assert space.count() == 2 * 2 * 9 * 9 * 10 * 10
