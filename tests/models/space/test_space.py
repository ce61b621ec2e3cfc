from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from models.nets.subnet import Subnet
from models.space import costs
from models.space.architecture import Architecture, Block
from models.space.costs import block_flops, block_parameters
from models.space.file import PRESETS, read_spec
from models.space.operators import cells
from models.space.space import SearchSpace
from models.space.spec import SpaceError, SpaceSpec
from tests.spaces import all_architectures, architecture_at


def shown(spec: SpaceSpec) -> SearchSpace:
    images = spec.shown_images
    return SearchSpace(spec, (images.channels, images.size, images.size), images.classes)


SPACES = {file.stem: shown(read_spec(file)) for file in sorted(PRESETS.glob("*.yaml"))}
COMPACT = SPACES["compact"]
each_preset = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
draws = settings(deadline=None, max_examples=25)

# All searchable dimensions: resolution, width, depth, kernel, expansion, splits, activation, gate.
ELASTIC = {
    "name": "elastic",
    "sizes": [8, 64],
    "resolutions": [10, 16],
    "stem": {"operator": "conv", "channels": 4, "stride": 2, "settings": {"kernel": 3}},
    "stages": [
        {
            "layers": 3,
            "min_layers": 2,
            "stride": 2,
            "channels": [4, 6],
            "operators": {
                "mbconv": {"kernel": [3], "expansion": [2], "squeeze_excite": [0, 1]},
                "plain": {"operator": "conv", "kernel": [1], "activation": ["relu", "silu"]},
            },
        },
        {
            "layers": 1,
            "stride": 1,
            "channels": [8, 4],
            "operators": {
                "split_attention_mbconv": {"kernel": [3], "expansion": [2], "splits": [1, 2]},
                "identity": {},
            },
        },
    ],
    "head": {"operator": "classifier", "settings": {"width": 16, "activation": "hard_swish"}},
}


@pytest.fixture(scope="module")
def elastic() -> SearchSpace:
    return SearchSpace(SpaceSpec.model_validate(ELASTIC), (3, 16, 16), 5)


@each_preset
@draws
@given(data=st.data())
def test_every_architecture_round_trips_through_choices_and_json(
    space: SearchSpace, data: st.DataObject
) -> None:
    architecture = architecture_at(space, data.draw(st.integers(0, space.count() - 1)))
    assert space.architecture(space.choices(architecture)) == architecture
    again = Architecture.from_json(architecture.to_json())
    assert again == architecture
    assert again.id == architecture.id
    assert (again.image_shape, again.classes) == (space.image_shape, space.classes)
    assert len(again.layers) == len(space.layers)


@each_preset
@draws
@given(data=st.data())
def test_possible_blocks_hold_every_block_of_every_architecture(
    space: SearchSpace, data: st.DataObject
) -> None:
    architecture = architecture_at(space, data.draw(st.integers(0, space.count() - 1)))
    pairs = zip(architecture.blocks, space.possible(), strict=True)
    assert all(block is None or block in possible for block, possible in pairs)


@each_preset
def test_every_possible_block_is_one_that_some_architecture_has(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(space.possible()), 12):
        blocks = space.possible()[position]
        wanted = blocks[rng.integers(len(blocks))]
        assert any(a.blocks[position] == wanted for a in around(space, position))


def around(space: SearchSpace, position: int) -> Iterator[Architecture]:
    """Architectures that cover all possible blocks of a position."""
    names = [group.name for group in space.groups]
    front = len(space.possible()) - len(space.layers) - 1
    at = min(position - front, len(space.layers) - 1)
    stages = {space.layers[at].stage, space.layers[at].stage - 1}
    free = [names.index(f"stage{stage + 1}.channels") for stage in stages if stage >= 0]
    free += [0] if names[0] in ("resolution", "scale") else []
    free += [space.layers[at].group] if position < len(space.possible()) - 1 else []
    for point in product(*(range(len(space.groups[g].candidates)) for g in free)):
        choices = [0] * len(space.groups)
        for group, choice in zip(free, point, strict=True):
            choices[group] = choice
        yield space.architecture(choices)


COSTS: dict[str, tuple[Callable[[Block], float], Callable[[Architecture], float]]] = {
    "flops": (block_flops, costs.flops),
    "parameters": (block_parameters, costs.parameters),
}


@cache
def bounds(space: SearchSpace, name: str) -> tuple[float, float]:
    of_block, of_network = COSTS[name]
    least, most = (of_network(space.extreme(of_block, largest)) for largest in (False, True))
    return least, most


@each_preset
@draws
@given(data=st.data())
def test_costs_lie_between_the_extremes(space: SearchSpace, data: st.DataObject) -> None:
    architecture = architecture_at(space, data.draw(st.integers(0, space.count() - 1)))
    for name, (_, of_network) in COSTS.items():
        least, most = bounds(space, name)
        assert least <= of_network(architecture) <= most


def test_count_is_the_number_of_distinct_identifiers(
    tiny: SearchSpace, elastic: SearchSpace
) -> None:
    for space in (tiny, elastic):
        everything = list(all_architectures(space))
        assert len(everything) == space.count() == len({a.id for a in everything})


def test_possible_blocks_are_exactly_those_of_all_architectures(
    tiny: SearchSpace, elastic: SearchSpace
) -> None:
    for space in (tiny, elastic):
        positions = zip(*(a.blocks for a in all_architectures(space)), strict=True)
        assert [set(blocks) - {None} for blocks in positions] == list(map(set, space.possible()))
        assert all(len(set(blocks)) == len(blocks) for blocks in space.possible())
        assert set(space.blocks()) == {b for a in all_architectures(space) for b in a.present}
        assert len(set(space.blocks())) == len(space.blocks())


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize(
    "cost", [block_flops, block_parameters, lambda block: block.size * block.out_channels]
)
def test_extreme_agrees_with_brute_force(
    tiny: SearchSpace, elastic: SearchSpace, largest: bool, cost
) -> None:
    for space in (tiny, elastic):
        totals = [sum(map(cost, a.present)) for a in all_architectures(space)]
        best = max(totals) if largest else min(totals)
        assert sum(map(cost, space.extreme(cost, largest).present)) == best


@pytest.mark.parametrize("largest", [False, True])
def test_the_extreme_peak_agrees_with_brute_force(elastic: SearchSpace, largest: bool) -> None:
    cost = costs.block_activation_bytes
    peaks = [max(map(cost, a.present)) for a in all_architectures(elastic)]
    best = max(peaks) if largest else min(peaks)
    found = elastic.extreme(cost, largest, peak=True)
    assert costs.peak_activation_bytes(found) == best


def test_resolution_is_the_first_choice_and_a_resize_before_the_stem(elastic: SearchSpace) -> None:
    assert elastic.groups[0].name == "resolution"
    assert elastic.groups[0].label(1) == "resolution=16"
    for choice, pixels in enumerate(ELASTIC["resolutions"]):
        architecture = elastic.architecture([choice] + [0] * (len(elastic.groups) - 1))
        resize, stem = architecture.blocks[:2]
        assert resize == Block("resize", 3, 3, 16, 1, (("to", pixels),))
        assert (stem.operator, stem.size) == ("conv", pixels)
        assert architecture.image_shape == (3, 16, 16)


def test_a_space_without_resolutions_has_neither_group_nor_block_for_it() -> None:
    assert COMPACT.groups[0].name == "stage1.channels"
    assert architecture_at(COMPACT, 0).blocks[0].operator == "conv"


def test_only_layers_after_the_least_number_may_be_left_out(elastic: SearchSpace) -> None:
    left_out = [{a.layers[n] is None for a in all_architectures(elastic)} for n in range(4)]
    assert left_out == [{False}, {False}, {True, False}, {False}]


def test_a_default_that_is_chosen_is_not_stored(elastic: SearchSpace) -> None:
    stored = {b.settings for b in elastic.possible()[2] if b.operator == "mbconv"}
    plain = (("expansion", 2), ("kernel", 3))
    assert stored == {plain, (*plain, ("squeeze_excite", 1))}
    assert elastic.possible()[-1][0].settings == (("activation", "hard_swish"), ("width", 16))
    assert elastic.possible()[1][0].settings == (("kernel", 3),)


def test_weights_are_shared_unless_the_space_says_private() -> None:
    private = {name for name, space in SPACES.items() if space.private_weights}
    assert private == {"macro"}


def test_costs_count_what_the_plain_module_has(small: SearchSpace) -> None:
    architecture = small.extreme(block_flops, largest=True)
    trainable = sum(p.numel() for p in Subnet(architecture).parameters())
    assert sum(map(block_parameters, architecture.present)) == trainable
    assert all(cells(block) for block in architecture.present)


def test_an_architecture_of_another_space_is_refused(
    tiny: SearchSpace, elastic: SearchSpace
) -> None:
    for space in (tiny, elastic):
        for stranger in (architecture_at(COMPACT, 0), architecture_at(SPACES["fbnet"], 0)):
            with pytest.raises(SpaceError, match=f"{stranger.id} is not in space '{space.name}'"):
                space.choices(stranger)


def test_an_architecture_with_one_block_changed_is_refused(elastic: SearchSpace) -> None:
    architecture = elastic.extreme(block_flops, largest=True)
    for position, block in enumerate(architecture.blocks):
        wrong = Block(
            "mbconv" if position else "resize",
            block.in_channels,
            block.out_channels,
            block.size,
            block.stride,
            (("expansion", 1), ("kernel", 7)) if position else (("to", 15),),
        )
        blocks = [*architecture.blocks]
        blocks[position] = wrong
        try:
            changed = Architecture(tuple(blocks))
        except UserError:
            continue  # shapes do not match: only the resize changes a size
        with pytest.raises(SpaceError, match="is not in space 'elastic'"):
            elastic.choices(changed)
    with pytest.raises(SpaceError, match="is not in space 'elastic'"):
        elastic.choices(Architecture((None, *architecture.blocks[1:])))


def test_blocks_that_do_not_fit_are_refused() -> None:
    blocks = architecture_at(COMPACT, 0).blocks
    with pytest.raises(UserError, match="cannot follow"):
        Architecture((*blocks[:-1], architecture_at(COMPACT, COMPACT.count() - 1).blocks[-1]))
    with pytest.raises(UserError, match="schema"):
        Architecture.from_json({"blocks": []})
