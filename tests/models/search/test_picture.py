"""Content of `search.png` before drawing."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.search.heat_map import HeatMap
from models.search.picture import front
from models.space.distribution import Distribution
from models.space.file import PRESETS, read_spec
from models.space.space import SearchSpace

WITH_CHOICES = ("compact", "macro", "bn-nas", "fbnet", "fox")


@cache
def preset(name: str) -> SearchSpace:
    spec = read_spec(PRESETS / f"{name}.yaml")
    images = spec.shown_images
    return SearchSpace(spec, (images.channels, images.size, images.size), images.classes)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_as_cheap_beats(points: list[tuple[int, int]]) -> None:
    cost_N, value_N = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    found = [points[at] for at in front(cost_N, value_N)]
    beaten = {p for p in points if any(c <= p[0] and v >= p[1] and (c, v) != p for c, v in points)}
    assert found == sorted(set(points) - beaten)


@pytest.mark.parametrize("name", WITH_CHOICES)
def test_every_option_of_every_choice_has_its_probability_in_one_cell(name: str) -> None:
    groups = preset(name).groups
    uniform = Distribution(groups, "joint")
    logits = np.random.default_rng(0).normal(size=uniform.size)
    likely = [np.exp(group) for group in uniform.with_logits(logits).log_probabilities]
    shown = HeatMap.of(groups, likely)
    open_ones = [(g, p) for g, p in zip(groups, likely, strict=True) if len(g.candidates) > 1]
    assert [group.name for group in shown.groups] == [group.name for group, _ in open_ones]
    kept = {block.variable: block for block in shown.blocks}
    for at, (group, probabilities) in enumerate(open_ones):
        expected = {}
        for candidate, probability in enumerate(probabilities):
            for variable, value in group.values(candidate).items():
                if variable in kept:
                    known = expected.get((variable, str(value)), 0.0)
                    expected[variable, str(value)] = known + probability
        assert cells(shown, at) == pytest.approx(expected)


def cells(shown: HeatMap, row: int) -> dict[tuple[str, str], float]:
    """By variable and the word that stands in the cell or below it."""
    words = [(block.variable, word) for block in shown.blocks for word in block.words]
    return {
        (variable, word or shown.own_GO[row][at]): float(shown.shares_GO[row, at])
        for at, (variable, word) in enumerate(words)
        if not np.isnan(shown.shares_GO[row, at])
    }


def test_channels_of_different_stages_share_columns_and_kernels_have_their_own() -> None:
    space = preset("fbnet")
    shares = [np.full(len(g.candidates), 1 / len(g.candidates)) for g in space.groups]
    blocks = {block.variable: block for block in HeatMap.of(space.groups, shares).blocks}
    assert (blocks["channels"].values, blocks["channels"].width) == (None, 4)
    assert blocks["mbconv.kernel"].values == (3, 5)
    assert blocks["mbconv.expansion"].values == (1, 2, 4, 6)
