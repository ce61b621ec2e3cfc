"""Classes of unequal size in training."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.balance import Balance, balance_of, balanced_order, image_weights
from data.dataset import DatasetInfo, Split
from data.stream import TrainStream

labels = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(lambda x: np.array(x, np.int64))


@given(labels_N=labels)
def test_every_class_has_the_same_weight_and_the_mean_is_one(labels_N):
    weights_N = image_weights(labels_N)
    assert weights_N.mean() == pytest.approx(1, rel=1e-5)
    sums = [weights_N[labels_N == k].sum() for k in np.unique(labels_N)]
    assert sums == pytest.approx([sums[0]] * len(sums), rel=1e-4)


@given(labels_N=labels, seed=st.integers(0, 2**32 - 1))
def test_a_balanced_epoch_has_each_class_equally_often_and_its_images_in_turn(labels_N, seed):
    order_N = balanced_order(labels_N, np.random.default_rng(seed))
    assert len(order_N) == len(labels_N)
    classes, counts = np.unique(labels_N[order_N], return_counts=True)
    assert np.ptp(counts) <= 1 or len(classes) < len(np.unique(labels_N))
    assert len(classes) == min(len(np.unique(labels_N)), len(labels_N))
    uses_N = np.bincount(order_N, minlength=len(labels_N))
    for k in classes:
        assert np.ptp(uses_N[labels_N == k]) <= 1
    again_N = balanced_order(labels_N, np.random.default_rng(seed))
    assert np.array_equal(order_N, again_N)


WEIGHTED, BALANCED = Balance(weighted=True, balanced=False), Balance(weighted=False, balanced=True)


@pytest.mark.parametrize(
    ("weights", "sampling", "images", "expected", "note"),
    [
        ("auto", "natural", {"a": 300, "b": 100}, None, None),
        ("auto", "natural", {"a": 301, "b": 100}, WEIGHTED, "301 training images of 'a', 100 of"),
        ("auto", "natural", {"a": 301, "b": 100, "empty": 0}, WEIGHTED, "100 of 'b'"),
        ("none", "natural", {"a": 301, "b": 100}, None, "does not make up for it"),
        ("auto", "balanced", {"a": 301, "b": 100}, BALANCED, None),
        ("none", "balanced", {"a": 1, "b": 1}, BALANCED, None),
    ],
)
def test_only_clearly_unequal_classes_are_weighted(weights, sampling, images, expected, note):
    balance, notes = balance_of(weights, sampling, images)
    assert balance == expected
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]


@pytest.fixture
def unequal(info: DatasetInfo, train: Split) -> Split:
    labels_N = np.zeros(len(train), np.int64)
    labels_N[:10] = 1
    return Split(train.images_NHWC, labels_N)


def test_training_batches_have_the_weights_and_others_do_not(info, unequal):
    weighted = info.model_copy(update={"balance": WEIGHTED})
    batch = TrainStream(unequal, weighted, 20, seed=0, augment=True).at(0)
    expected_N = image_weights(unequal.labels_N)[batch.indices_N.numpy()]
    assert torch.equal(batch.weights_N, torch.from_numpy(expected_N))
    assert torch.equal(batch.to(torch.device("cpu")).weights_N, batch.weights_N)
    assert TrainStream(unequal, weighted, 20, seed=0, augment=False).at(0).weights_N is None
    plain = TrainStream(unequal, info, 20, seed=0, augment=True).at(0)
    assert plain.weights_N is None
    assert torch.equal(plain.indices_N, batch.indices_N)
    assert torch.equal(plain.images_NCHW, batch.images_NCHW)


def test_balanced_batches_have_the_rare_class_half_the_time(info, unequal):
    balanced = info.model_copy(update={"balance": BALANCED})
    stream = TrainStream(unequal, balanced, 20, seed=0, augment=True)
    seen_N = torch.cat([stream.at(step).labels_N for step in range(stream.steps_per_epoch)])
    assert seen_N.float().mean() == 0.5
    own = [TrainStream(unequal, balanced, 20, 0, True, (k, 2)).at(7).labels_N for k in range(2)]
    assert torch.equal(torch.cat(own), stream.at(7).labels_N)
    kept = TrainStream(unequal, balanced, 20, seed=0, augment=False)
    assert torch.cat([kept.at(step).labels_N for step in range(5)]).sum() == 10


def test_the_description_of_equal_classes_is_unchanged(info, tmp_path):
    assert "balance" not in info.to_json()
    weighted = info.model_copy(update={"balance": WEIGHTED})
    weighted.write(tmp_path)
    assert DatasetInfo.read(tmp_path).balance == WEIGHTED
