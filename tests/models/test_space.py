from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.architecture import Architecture, ArchitectureError
from models.operators import cells, macs, parameters
from models.space import SearchSpace, SpaceError
from models.subnet import Subnet

COMPACT = SearchSpace.load(
    Path(__file__).parents[2] / "models" / "spaces" / "compact.yaml", (1, 28, 28), 10
)
numbers = st.integers(0, COMPACT.count() - 1)


@given(numbers)
def test_every_architecture_round_trips_through_its_index(number: int) -> None:
    assert COMPACT.index(COMPACT.from_index(number)) == number


@given(numbers)
def test_every_architecture_round_trips_through_json_and_encoding(number: int) -> None:
    architecture = COMPACT.from_index(number)
    again = Architecture.from_json(architecture.to_json())
    assert again == architecture
    assert again.id == architecture.id
    assert COMPACT.decode(COMPACT.encode(architecture)) == architecture


@given(st.integers(0, 2**32))
def test_sampling_and_mutating_stay_in_the_space(seed: int) -> None:
    rng = np.random.default_rng(seed)
    architecture = COMPACT.sample(rng)
    changed = COMPACT.mutate(architecture, rng)
    assert 0 <= COMPACT.index(architecture) < COMPACT.count()
    assert sum(np.not_equal(COMPACT.choices(architecture), COMPACT.choices(changed))) == 1


@given(numbers)
def test_possible_blocks_hold_every_block_of_every_architecture(number: int) -> None:
    pairs = zip(COMPACT.from_index(number).blocks, COMPACT.possible(), strict=True)
    assert all(block is None or block in possible for block, possible in pairs)


def test_the_preset_has_at_least_a_hundred_million_architectures() -> None:
    assert COMPACT.count() >= 10**8


def test_count_is_the_number_of_distinct_identifiers(tiny: SearchSpace) -> None:
    everything = list(tiny.enumerate())
    assert len(everything) == tiny.count() == len({a.id for a in everything})


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("cost", [macs, parameters, lambda block: block.size * block.out_channels])
def test_extreme_agrees_with_brute_force(tiny: SearchSpace, largest: bool, cost) -> None:
    totals = [sum(map(cost, a.present)) for a in tiny.enumerate()]
    best = max(totals) if largest else min(totals)
    assert sum(map(cost, tiny.extreme(cost, largest).present)) == best


def test_costs_count_what_the_plain_module_has(small: SearchSpace) -> None:
    architecture = small.extreme(macs, largest=True)
    trainable = sum(p.numel() for p in Subnet(architecture).parameters())
    assert sum(map(parameters, architecture.present)) == trainable
    assert all(cells(block) for block in architecture.present)


def test_an_architecture_of_another_space_is_refused(tiny: SearchSpace) -> None:
    stranger = COMPACT.from_index(0)
    with pytest.raises(SpaceError, match=f"{stranger.id} is not in space 'tiny'"):
        tiny.choices(stranger)
    with pytest.raises(SpaceError, match="no architecture number"):
        tiny.from_index(tiny.count())


def test_blocks_that_do_not_fit_are_refused() -> None:
    blocks = COMPACT.from_index(0).blocks
    with pytest.raises(ArchitectureError, match="cannot follow"):
        Architecture((*blocks[:-1], COMPACT.from_index(COMPACT.count() - 1).blocks[-1]))
    with pytest.raises(ArchitectureError, match="schema"):
        Architecture.from_json({"blocks": []})


GOOD = """
name: n
sizes: [8, 64]
stem: {operator: conv, channels: 4, stride: 2, settings: {kernel: 3}}
stages:
  - {layers: 1, stride: 1, channels: [4, 8], operators: {mbconv: {kernel: [3], expansion: [2]}}}
head: {operator: classifier, settings: {width: 16}}
"""


@pytest.mark.parametrize(
    ("wrong", "right", "named"),
    [
        ("layers: 0", "layers: 1", "stages.0.layers"),
        ("chanels: [4, 8]", "channels: [4, 8]", "stages.0.chanels"),
        ("channels: [4, 4]", "channels: [4, 8]", "stages.0.channels"),
        ("mbkonv: {", "mbconv: {", "no operator 'mbkonv'"),
        ("kernel: [4]", "kernel: [3]", "stages.0.mbconv.kernel"),
        ("expansion: []", "expansion: [2]", "stages.0.mbconv.expansion"),
        ("{kernel: [3]}", "{kernel: [3], expansion: [2]}", "exactly the settings"),
        ("sizes: [32, 64]", "sizes: [8, 64]", "square images of 32 to 64"),
        ("width: 2}", "width: 16}", "head.classifier.width"),
        ("name: [", "name: n", "not valid YAML"),
    ],
)
def test_a_wrong_space_file_is_refused_by_name(
    tmp_path: Path, wrong: str, right: str, named: str
) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(GOOD.replace(right, wrong))
    with pytest.raises(SpaceError) as raised:
        SearchSpace.load(file, (1, 12, 12), 5)
    assert named in str(raised.value)


def test_a_missing_space_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="no such search space"):
        SearchSpace.load(tmp_path / "nothing.yaml", (1, 12, 12), 5)
