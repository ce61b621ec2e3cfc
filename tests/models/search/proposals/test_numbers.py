import numpy as np
import pytest

from models.search.problem import as_choices
from models.search.proposals.numbers import layers, network_numbers
from models.space.costs import depth, flops, parameters
from models.space.file import PRESETS
from models.space.space import SearchSpace


@pytest.mark.parametrize(("name", "shape"), [("compact", (1, 28, 28)), ("macro", (3, 32, 32))])
def test_the_numbers_are_layers_macs_and_parameters(name: str, shape: tuple[int, int, int]) -> None:
    space = SearchSpace.load(PRESETS / f"{name}.yaml", shape, 10)
    rng, of = np.random.default_rng(0), network_numbers(space)
    for _ in range(5):
        one = space.sample(rng)
        found = of(as_choices([space.choices(one)]))[0]
        np.testing.assert_allclose(
            found[:3], [layers(one), np.log(flops(one)), np.log(parameters(one))]
        )
        assert len(found) == 3 + len(space.spec.stages)
        assert found[3:].sum() == layers(one)


def test_an_identity_is_no_layer_even_where_it_changes_the_shape() -> None:
    space = SearchSpace.load(PRESETS / "macro.yaml", (3, 32, 32), 10)
    nothing = space.architecture([0] * len(space.groups))
    assert (layers(nothing), depth(nothing)) == (0, 3)
