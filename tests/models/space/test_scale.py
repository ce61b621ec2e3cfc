"""Searched strides and resolutions as shares of the images' size."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.nets.supernet import Supernet, extract
from models.space import costs
from models.space.costs import block_flops, block_parameters
from models.space.distribution import Distribution
from models.space.file import read_spec
from models.space.groups import single_steps
from models.space.space import SearchSpace
from models.space.spec import SpaceError
from models.space.stage_features import StageFeatureTables, stage_features, stage_sizes
from tests.spaces import all_architectures, architecture_at

STRIDES = """\
name: uneven
sizes: [8, 64]
resolution_shares: [0.5, 1.0]
strides:
  - [1, 2, 1]
  - [2, 1, 2]
  - [2, 1, 1]
stem: {operator: conv, channels: 4, settings: {kernel: 3}}
stages:
  - {layers: 2, skip: true, channels: [4, 6], operators: {mbconv: {kernel: [3], expansion: [1, 2]}}}
  - {layers: 2, skip: true, channels: [8], operators: {conv: {kernel: [1, 3]}}}
head: {operator: classifier, settings: {width: 16}}
"""


def load(folder: Path, text: str = STRIDES, size: int = 16) -> SearchSpace:
    file = folder / "uneven.yaml"
    file.write_text(text)
    return SearchSpace.load(file, (3, size, size), 5)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    return load(tmp_path_factory.mktemp("space"))


def test_every_resolution_is_combined_with_every_row_of_strides(space: SearchSpace) -> None:
    scale = space.groups[0]
    assert (scale.name, space.groups[1].name) == ("scale", "stage1.channels")
    assert [v.options for v in scale.variables] == [(8, 16), ("1-2-1", "2-1-2", "2-1-1")]
    assert scale.label(4) == "resolution=16,strides=2-1-2"
    found = []
    for choice in range(len(scale.candidates)):
        network = space.architecture([choice] + [0] * (len(space.groups) - 1))
        strides = [b.stride for b in network.present[1:] if b.operator != "classifier"]
        found.append((network.present[0].out_size, strides))
        assert network.image_shape == (3, 16, 16)
    rows = [[1, 2, 1, 1, 1], [2, 1, 1, 2, 1], [2, 1, 1, 1, 1]]
    assert found == [(size, row) for size in (8, 16) for row in rows]


def test_choices_blocks_and_extremes_agree_with_all_architectures(space: SearchSpace) -> None:
    everything = list(all_architectures(space))
    assert len(everything) == space.count() == len({a.id for a in everything}) == 6 * 2 * 6 * 6
    assert [space.architecture(space.choices(a)) for a in everything] == everything
    positions = zip(*(a.blocks for a in everything), strict=True)
    assert [set(blocks) - {None} for blocks in positions] == list(map(set, space.possible()))
    for cost in (block_flops, block_parameters):
        totals = [sum(map(cost, a.present)) for a in everything]
        for largest, best in ((False, min(totals)), (True, max(totals))):
            assert sum(map(cost, space.extreme(cost, largest).present)) == best


def test_tables_equal_single_architectures(space: SearchSpace) -> None:
    sizes = [len(group.candidates) for group in space.groups]
    choices_NG = np.indices(sizes, dtype=np.uint8).reshape(len(sizes), -1).T
    tables = StageFeatureTables(space).features(choices_NG)
    for cost in (costs.flops, costs.parameters, costs.peak_activation_bytes, costs.depth):
        values_N = cost.table(space)(choices_NG)
        assert values_N.tolist() == [cost(a) for a in all_architectures(space)]
    for number in range(0, space.count(), 37):
        single = stage_features(architecture_at(space, number), stage_sizes(space.groups))
        assert {name: column[number] for name, column in tables.items()} == single


def test_strides_share_the_supernets_weights(space: SearchSpace) -> None:
    supernet = Supernet(space, torch.Generator().manual_seed(0)).eval()
    images_NCHW = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    rest = [0] * (len(space.groups) - 1)
    networks = [space.architecture([scale, *rest]) for scale in range(len(space.scales))]
    outputs = []
    for network in networks:
        subnet = extract(supernet, network)
        outputs.append(supernet(images_NCHW, network))
        torch.testing.assert_close(subnet(images_NCHW), outputs[-1])
    kernels = [
        {name: value for name, value in extract(supernet, network).state_dict().items()}
        for network in networks[3:]
    ]
    for other in kernels[1:]:
        assert all(torch.equal(value, other[name]) for name, value in kernels[0].items())
    assert len({round(float(out.detach().sum()), 4) for out in outputs}) == len(outputs)


def test_rows_of_strides_are_names_of_a_distribution_and_neighbours(space: SearchSpace) -> None:
    saved = Distribution(space.groups, "factorised").to_json()["groups"]["scale"]
    assert list(saved["strides"]) == ["1-2-1", "2-1-2", "2-1-1"]
    steps = single_steps(space.groups[0])
    assert steps[0] == (1, 2, 3)  # either other row, or the next resolution


def test_strides_alone_are_a_group_and_add_no_resize(tmp_path: Path) -> None:
    space = load(tmp_path, STRIDES.replace("resolution_shares: [0.5, 1.0]\n", ""))
    assert [g.name for g in space.groups[:2]] == ["strides", "stage1.channels"]
    assert architecture_at(space, 0).present[0].operator == "conv"


@pytest.mark.parametrize(("size", "pixels"), [(28, (20, 28)), (32, (24, 32)), (96, (72, 96))])
def test_shares_are_rounded_down_to_multiples_of_four(
    tmp_path: Path, size: int, pixels: tuple[int, int]
) -> None:
    text = STRIDES.replace("[8, 64]", "[8, 96]").replace("[0.5, 1.0]", "[0.75, 1.0]")
    assert load(tmp_path, text, size).groups[0].variables[0].options == pixels


def test_shares_that_give_one_resolution_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"\[0.9, 0.95\] of 16 pixels are \[12, 12\].*further ap"):
        load(tmp_path, STRIDES.replace("[0.5, 1.0]", "[0.9, 0.95]"))


MISTAKES = {
    "too few": (
        "  - [2, 1, 1]\n", "  - [2, 1]\n",
        "line 7, strides.2: must have 3 strides: the stem's and one for each stage.",
    ),
    "a stride of three": ("- [2, 1, 1]", "- [3, 1, 1]", "line 7, strides.2.0: input should be"),
    "a row twice": ("- [2, 1, 1]", "- [2, 1, 2]", "line 4, strides: [2, 1, 2] is listed twice"),
    "a stage has one as well": (
        "{layers: 2, skip: true, channels: [8]", "{layers: 2, stride: 2, skip: true, channels: [8]",
        "line 11, stages.1.stride: the space's strides give it; use only one of them.",
    ),
    "the stem has none": (
        "strides:\n  - [1, 2, 1]\n  - [2, 1, 2]\n  - [2, 1, 1]\n", "",
        "line 4, stem.stride: required, but not given.",
    ),
    "shares and pixels": (
        "strides:\n", "resolutions: [8, 16]\nstrides:\n",
        "line 3, resolution_shares: resolutions are given as well; use only one of them.",
    ),
    "a share above one": ("[0.5, 1.0]", "[0.5, 1.5]", "line 3, resolution_shares.1: input should"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_with_line_key_and_rule(tmp_path: Path, mistake: str) -> None:
    right, wrong, expected = MISTAKES[mistake]
    file = tmp_path / "uneven.yaml"
    assert STRIDES.count(right) == 1
    file.write_text(STRIDES.replace(right, wrong))
    with pytest.raises(SpaceError) as raised:
        read_spec(file)
    assert f"{file}, {expected}" in str(raised.value)
