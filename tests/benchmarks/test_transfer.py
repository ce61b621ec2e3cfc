"""The transfer benchmark's small problem, shuffling and savings."""

from collections.abc import Sequence

import numpy as np

from benchmarks.harness.presets import COMPACT, random_images
from benchmarks.transfer.__main__ import shuffle
from benchmarks.transfer.report import Look, equal
from benchmarks.transfer.small import fewer
from data.dataset import Split
from models.space.distribution import Distribution
from models.training.learning import Images


def test_the_small_problem_never_sees_what_the_large_one_is_judged_on() -> None:
    info = random_images((1, 16, 16), 1, batches=1).info
    # Every image says which it is: its grey is its number, and validation images are black.
    numbers = np.arange(200)
    marked = np.broadcast_to(numbers[:, None, None, None], (200, 16, 16, 1)).astype(np.uint8)
    train = Split(marked + 1, numbers.astype(np.int64))
    val = Split(np.zeros((100, 16, 16, 1), np.uint8), np.zeros(100, np.int64))
    small = fewer(Images(info, train, val, val), 0, 0.25)
    assert small.info.image_shape == (1, 8, 8)
    assert (len(small.train), len(small.val), len(small.test)) == (50, 25, 0)
    drawn = np.concatenate([part.images_NHWC[:, 0, 0, 0] for part in (small.train, small.val)])
    labels = np.concatenate([small.train.labels_N, small.val.labels_N])
    assert len(set(drawn)) == 75
    np.testing.assert_array_equal(drawn, labels + 1)
    other = fewer(Images(info, train, val, val), 1, 0.25)
    assert set(other.train.labels_N) != set(small.train.labels_N)


def test_shuffling_keeps_how_sharp_a_distribution_is() -> None:
    flat = Distribution(COMPACT.load().groups, "joint")
    sharp = flat.with_logits(np.random.default_rng(0).normal(size=flat.size))
    mixed = [shuffle(sharp, np.random.default_rng(seed)) for seed in range(10)]
    assert {round(one.entropy(), 9) for one in mixed} == {round(sharp.entropy(), 9)}
    assert len({tuple(one.logits) for one in mixed}) > 5


def test_as_good_means_from_there_on() -> None:
    def look(step: int, *nll: float) -> Look:
        return Look(step, 4.0 * step, list(nll))

    def steps(found: Sequence[Look]) -> tuple[int | None, int | None]:
        at = equal(found, [0.5, 0.6, 0.7])
        return at.by_mean and at.by_mean.step, at.shown and at.shown.step

    worse, equals = look(1, 0.6, 0.7, 0.8), look(2, 0.5, 0.6, 0.7)
    assert steps([worse, equals, look(3, 0.5, 0.6, 0.7)]) == (2, 2)
    assert steps([equals, worse]) == (None, None)
    assert steps([worse, look(2, 0.46, 0.6, 0.73)]) == (2, None)  # the mean hides too much
    assert steps([look(1, 0.505, 0.605, 0.705), equals]) == (2, 1)
