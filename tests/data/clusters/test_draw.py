import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from data.clusters.draw import require_whole_groups, split_groups

CLASSES = ("a", "b", "c")
SHARES = {"val": 0.2, "test": 0.2}


def draw(labels_N, clusters_N, given=None, seed=0, shares=SHARES):
    nothing_N = np.zeros(len(labels_N), bool)
    rng = np.random.default_rng(seed)
    return split_groups(labels_N, clusters_N, given or {}, CLASSES, shares, rng, nothing_N)


@given(st.integers(0, 1000), st.integers(12, 60), st.integers(5, 12))
@settings(max_examples=50, deadline=None)
def test_groups_stay_whole_and_every_split_has_every_class(seed, groups, size):
    rng = np.random.default_rng(seed)
    clusters_N = np.repeat(np.arange(groups) * size, size)
    labels_N = rng.integers(0, 3, groups * size)
    for group in range(4):  # so that a split is possible
        labels_N[group * size : group * size + 3] = range(3)
    parts = draw(labels_N, clusters_N, seed=seed).parts
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(labels_N)))
    owners = [set(clusters_N[part].tolist()) for part in parts.values()]
    assert sum(map(len, owners)) == groups
    for part in parts.values():
        assert set(labels_N[part].tolist()) == {0, 1, 2}


def test_persons_that_are_in_every_class_are_divided_by_person():
    persons_N = np.tile(np.repeat(np.arange(20), 5), 3)
    labels_N = np.repeat(np.arange(3), 100)
    parts = draw(labels_N, persons_N).parts
    counts = {name: len(np.unique(persons_N[part])) for name, part in parts.items()}
    assert counts == {"train": 13, "val": 3, "test": 4}
    assert np.bincount(labels_N[parts["test"]]).tolist() == [20, 20, 20]


def test_shares_are_met_to_about_a_group():
    rng = np.random.default_rng(1)
    clusters_N = np.repeat(np.arange(200), rng.integers(1, 8, 200))
    labels_N = rng.integers(0, 3, 200)[clusters_N]
    test = np.bincount(labels_N[draw(labels_N, clusters_N).parts["test"]])
    assert np.abs(test - 0.2 * np.bincount(labels_N)).max() <= 7


def test_one_seed_gives_one_result_and_another_gives_another():
    clusters_N = np.repeat(np.arange(30), 4)
    labels_N = np.arange(120) % 3
    one, same, other = (draw(labels_N, clusters_N, seed=seed).parts["test"] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_given_split_is_kept_and_the_others_are_drawn():
    clusters_N = np.repeat(np.arange(30), 4)
    labels_N = np.arange(120) % 3
    own_N = clusters_N < 5
    parts = draw(labels_N, clusters_N, {"test": own_N}).parts
    assert np.array_equal(parts["test"], np.flatnonzero(own_N))
    assert not set(clusters_N[parts["val"]]) & set(clusters_N[parts["train"]])


def test_a_class_in_too_few_groups_is_named():
    labels_N = np.array([0] * 9 + [1] * 9 + [2] * 9)
    clusters_N = np.array([*range(9), *range(9, 18), *[18] * 5, *[19] * 4])
    with pytest.raises(UserError, match=r"too few in 'c' \(2\).*make data\.group finer"):
        draw(labels_N, clusters_N)


def test_groups_that_cannot_be_divided_are_refused_with_the_missing_class():
    # Every class has three groups, but one group holds an image of all classes.
    labels_N = np.array([0, 1, 2, 0, 1, 0, 2, 1, 2])
    clusters_N = np.array([0, 0, 0, 3, 3, 5, 5, 7, 7])
    with pytest.raises(UserError, match=r"cannot be divided.*none of '.' in"):
        draw(labels_N, clusters_N)


def test_a_group_across_given_splits_is_refused_by_name():
    groups = ("p1", "p1", "p2", "p3")
    test_N = np.array([False, True, False, True])
    nothing_N = np.zeros(4, bool)
    with pytest.raises(UserError, match=r"1 of 3 groups .*p1 \(train, test\).*Move each group"):
        require_whole_groups(groups, {"test": test_N}, nothing_N)
    require_whole_groups(groups, {"test": test_N}, np.array([True, False, False, False]))
    require_whole_groups(groups, {}, nothing_N)
