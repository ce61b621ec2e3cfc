"""A supernet that is no better than chance is not passed on."""

import numpy as np
import pytest

from core.errors import UserError
from data.balance import Balance
from data.dataset import DatasetInfo, Split
from models.training.chance import Chance
from models.training.learning import Images
from models.training.supernet.chance import require_better_than_chance
from models.training.supernet.result import SampledNetwork
from models.training.supernet.settings import SupernetParams
from models.training.teachers.result import learned_nothing
from models.training.teachers.space import SpaceRecord


def labels(*counts: int) -> np.ndarray:
    """Labels with so many images of each class."""
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize(
    ("accuracy", "labels_N", "verdict"),
    [
        (0.104, labels(*[100] * 10), "not better"),
        (0.14, labels(*[100] * 10), "better"),
        (0.90, labels(900, 100), "not better"),  # what always naming the first class gets
        (0.93, labels(900, 100), "better"),
        (0.55, labels(9, 8), "undecided"),
        (0.65, labels(9, 8), "undecided"),  # a good start that 17 images cannot prove
        (1.0, labels(9, 8), "better"),
        (0.5, labels(30, 30), "not better"),
        (0.1, labels(*[3] * 10), "not better"),
        (0.0, labels(2, 2), "undecided"),
    ],
)
def test_the_verdict_takes_the_number_of_images_into_account(
    accuracy: float, labels_N: np.ndarray, verdict: str
):
    assert Chance.of([accuracy, accuracy], labels_N).verdict == verdict


def test_networks_that_do_not_know_the_labels_never_pass():
    """Chance itself passes in at most one of a thousand cases, also with few images."""
    rng = np.random.default_rng(0)
    passed = 0
    for images in (20, 100, 1000):
        labels_N = rng.integers(0, 3, images)
        for _ in range(200):
            predicted_N = rng.integers(0, 3, images)  # all networks predict the same
            found = Chance.of([float((predicted_N == labels_N).mean())] * 8, labels_N)
            passed += found.verdict == "better"
    assert passed <= 1


def images_of(labels_N: np.ndarray, balance: Balance | None = None) -> Images:
    split = Split(np.zeros((len(labels_N), 8, 8, 1), np.uint8), labels_N)
    info = DatasetInfo.model_construct(balance=balance)
    return Images(info, split, split, split)


def check(*subnets: SampledNetwork, images: np.ndarray) -> list[str]:
    params = SupernetParams(report_images=1000)
    return require_better_than_chance(subnets, images_of(images), params, 40)


def sampled(accuracy: float, classifier: float | None = None) -> SampledNetwork:
    return SampledNetwork(
        architecture_id="a", short="a", val_accuracy=accuracy, classifier_accuracy=classifier
    )


def test_good_features_with_a_classifier_at_chance_are_refused_with_its_own_way_out():
    good, many = sampled(0.8, classifier=0.6), labels(*[100] * 10)
    assert check(good, images=many) == []
    with pytest.raises(UserError, match=r"1 sampled classifiers.*0.100.*classifier_min_steps"):
        check(sampled(0.8, classifier=0.1), images=many)


def test_weighed_classes_below_the_constant_answer_are_not_refused():
    """0.85 may be 0.85 of each class, where always the first class gives 0.95."""
    labels_N, params = labels(950, 50), SupernetParams(report_images=1000)
    with pytest.raises(UserError, match="no better than chance"):
        require_better_than_chance([sampled(0.85)], images_of(labels_N), params, 40)
    balance = Balance.model_construct()
    (note,) = require_better_than_chance([sampled(0.85)], images_of(labels_N, balance), params, 40)
    assert "not checked whether the supernet beats chance" in note
    record = SpaceRecord(
        architecture_id="a", short="a", flops=1, parameters=1, epochs=1.0, accuracy={"val": 0.85}
    )
    assert learned_nothing(record, images_of(labels_N)) is not None
    assert learned_nothing(record, images_of(labels_N, balance)) is None


def test_few_images_give_a_note_and_so_does_no_network():
    (note,) = check(sampled(0.65), images=labels(9, 8))
    assert "too few validation images" in note
    assert "0.650 on 17 validation images" in note
    (note,) = check(images=labels(9, 8))
    assert note.startswith("supernet.report_subnets is 0")
