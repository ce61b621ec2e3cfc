import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from data.splits import find_duplicates, split

CLASSES = ("a", "b", "c")
TENTHS = {"val": 0.1, "test": 0.1}


@st.composite
def data_sets(draw):
    """Tiny images with many duplicates, some with conflicting labels; maybe a test split."""
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    count = draw(st.integers(60, 300))
    different = draw(st.integers(40, 400))
    pixels = rng.integers(0, different, count)
    # Ten unique images per class, so that a split is always possible.
    pixels = np.concatenate([pixels, np.arange(1000, 1030)])
    labels_N = np.concatenate([rng.integers(0, 3, count), np.repeat(np.arange(3), 10)])
    images_NHWC = np.zeros((len(pixels), 2, 2, 1), np.uint8)
    images_NHWC[:, 0, 0, 0], images_NHWC[:, 0, 1, 0] = pixels % 256, pixels // 256
    test_N = None
    if draw(st.booleans()):
        test_N = rng.random(len(pixels)) < 0.2
        test_N[-30:] = False
    return images_NHWC, labels_N.astype(np.int64), test_N


fractions = st.floats(0.05, 0.5)


def divide(data_set, val=0.1, test=0.2, seed=0):
    images_NHWC, labels_N, test_N = data_set
    groups_N = find_duplicates(images_NHWC, labels_N).groups_N
    rng = np.random.default_rng(seed)
    own = {} if test_N is None else {"test": test_N}
    return split(labels_N, groups_N, own, CLASSES, {"val": val, "test": test}, rng)


@given(data_sets(), fractions, fractions)
@settings(max_examples=60, deadline=None)
def test_every_image_is_in_exactly_one_part(data_set, val, test):
    parts = divide(data_set, val, test)
    together = np.concatenate([*parts.parts.values(), parts.dropped])
    assert np.array_equal(np.sort(together), np.arange(len(data_set[1])))


@given(data_sets(), fractions, fractions)
@settings(max_examples=60, deadline=None)
def test_no_pixels_are_in_two_splits(data_set, val, test):
    images_NHWC = data_set[0]
    parts = divide(data_set, val, test)
    train, val_, test_ = (
        {images_NHWC[index].tobytes() for index in part} for part in parts.parts.values()
    )
    assert not train & val_
    assert not train & test_
    assert not val_ & test_


@given(data_sets(), fractions, fractions)
@settings(max_examples=60, deadline=None)
def test_shares_are_met_to_the_largest_group_and_never_empty(data_set, val, test):
    images_NHWC, labels_N, test_N = data_set
    groups_N = find_duplicates(images_NHWC, labels_N).groups_N
    parts = divide(data_set, val, test)
    free = np.setdiff1d(np.arange(len(labels_N)), parts.dropped)
    if test_N is not None:
        free = free[~test_N[free]]
    for label in range(3):
        mine = free[labels_N[groups_N[free]] == label]
        largest = np.unique(groups_N[mine], return_counts=True)[1].max()
        wanted = {"val": val} if test_N is not None else {"test": test, "val": (1 - test) * val}
        for name, share in wanted.items():
            count = np.isin(mine, parts.parts[name]).sum()
            assert count >= 1
            assert abs(count - max(1, round(share * len(mine)))) <= largest
        assert np.isin(mine, parts.parts["train"]).any()


@given(data_sets(), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_one_seed_gives_one_result(data_set, seed):
    first, second = divide(data_set, seed=seed), divide(data_set, seed=seed)
    assert np.array_equal(first.dropped, second.dropped)
    for name, part in first.parts.items():
        assert np.array_equal(part, second.parts[name])


def test_another_seed_gives_another_result():
    labels_N = np.repeat(np.arange(3), 50)
    groups_N = np.arange(150)
    one, two = (
        split(labels_N, groups_N, {}, CLASSES, TENTHS, np.random.default_rng(seed))
        for seed in (0, 1)
    )
    assert not np.array_equal(one.parts["test"], two.parts["test"])


def test_without_duplicates_the_shares_are_exact():
    labels_N = np.repeat(np.arange(3), 100)
    rng = np.random.default_rng(0)
    parts = split(labels_N, np.arange(300), {}, CLASSES, {"val": 0.1, "test": 0.2}, rng)
    assert np.bincount(labels_N[parts.parts["test"]]).tolist() == [20, 20, 20]
    assert np.bincount(labels_N[parts.parts["val"]]).tolist() == [8, 8, 8]


def test_a_copy_of_an_official_test_image_is_dropped():
    labels_N = np.repeat(np.arange(3), 10)
    groups_N = np.arange(30)
    groups_N[5] = 2
    parts = given(labels_N, groups_N, test=(5, 15, 25))
    assert parts.parts["test"].tolist() == [5, 15, 25]
    assert parts.dropped.tolist() == [2]


def test_copies_and_contradicting_labels_are_counted():
    images_NHWC = np.array([0, 1, 0, 2, 1, 1], np.uint8).reshape(6, 1, 1, 1)
    found = find_duplicates(images_NHWC, np.array([0, 1, 0, 1, 1, 2]))
    assert found.groups_N.tolist() == [0, 1, 0, 3, 1, 1]
    assert found.copies == 3
    assert found.conflicts == 3


def test_a_class_of_copies_only_is_refused_by_name():
    labels_N = np.repeat(np.arange(3), 10)
    groups_N = np.arange(30)
    groups_N[10:20] = 10
    with pytest.raises(UserError, match="class 'b' has 1 distinct images"):
        split(labels_N, groups_N, {}, CLASSES, TENTHS, np.random.default_rng(0))


def test_a_large_group_never_empties_train():
    labels_N = np.zeros(12, np.int64)
    groups_N = np.array([0, 1] + [2] * 10)
    parts = split(
        labels_N, groups_N, {}, ("a",), {"val": 0.5, "test": 0.5}, np.random.default_rng(0)
    )
    assert min(map(len, parts.parts.values())) >= 1


def given(labels_N, groups_N, **own):
    masks = {name: np.isin(np.arange(len(labels_N)), part) for name, part in own.items()}
    rng = np.random.default_rng(0)
    return split(labels_N, groups_N, masks, CLASSES, {"val": 0.1, "test": 0.2}, rng)


def test_given_splits_stay_as_they_are():
    labels_N = np.repeat(np.arange(3), 10)
    parts = given(labels_N, np.arange(30), test=(0, 10, 20), val=(1, 2, 11, 21))
    assert parts.parts["test"].tolist() == [0, 10, 20]
    assert parts.parts["val"].tolist() == [1, 2, 11, 21]
    assert len(parts.parts["train"]) == 23


def test_a_test_split_is_drawn_from_train_where_only_validation_is_given():
    labels_N = np.repeat(np.arange(3), 10)
    parts = given(labels_N, np.arange(30), val=(1, 11, 21))
    assert parts.parts["val"].tolist() == [1, 11, 21]
    assert np.bincount(labels_N[parts.parts["test"]]).tolist() == [2, 2, 2]


def test_copies_across_given_splits_leave_train_first_and_test_never():
    labels_N, groups_N = np.repeat(np.arange(3), 10), np.arange(30)
    groups_N[[3, 5]] = 2  # 2 and 3 in train, 5 in validation
    groups_N[[7, 8]] = 6  # 6 in train, 7 in validation, 8 in test
    parts = given(labels_N, groups_N, test=(8, 18, 28), val=(5, 7, 15, 25))
    assert parts.parts["test"].tolist() == [8, 18, 28]
    assert parts.parts["val"].tolist() == [5, 15, 25]
    assert parts.dropped.tolist() == [2, 3, 6, 7]


def test_a_validation_split_of_test_images_alone_is_refused():
    labels_N, groups_N = np.repeat(np.arange(3), 10), np.arange(30)
    groups_N[5] = 4
    with pytest.raises(UserError, match="class 'a': every validation image is a copy of a test"):
        given(labels_N, groups_N, test=(4, 14, 24), val=(5, 15, 25))


def test_a_class_of_another_ones_copies_is_refused_with_both_names():
    labels_N, groups_N = np.repeat(np.arange(3), 10), np.arange(30)
    groups_N[20:30] = np.arange(10)
    with pytest.raises(UserError, match=r"class 'c' .*10 of its 10 images are copies .* of 'a'"):
        given(labels_N, groups_N)


def test_a_class_that_copies_of_test_images_empty_says_so():
    labels_N, groups_N = np.repeat(np.arange(3), 10), np.arange(30)
    groups_N[:9] = 0
    with pytest.raises(UserError, match=r"class 'a' .* 8 are copies of test or validation images"):
        given(labels_N, groups_N, test=(0, 10, 20))


def test_contradicting_pairs_are_listed():
    images_NHWC = np.array([0, 1, 0, 2, 1, 1], np.uint8).reshape(6, 1, 1, 1)
    found = find_duplicates(images_NHWC, np.array([0, 1, 0, 1, 1, 2]))
    assert found.contradictions == ((1, 5),)
