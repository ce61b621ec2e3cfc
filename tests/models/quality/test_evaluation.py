"""The record of a network's quality."""

import numpy as np
import pytest

from models.quality.evaluation import THRESHOLDS, evaluate_quality, worst_mistakes
from models.quality.metrics import probabilities
from models.quality.record import MANY, Quality

CLASSES = ("good", "scratch", "dent")


def drawn(seed: int, counts=(90, 20, 12)):
    rng = np.random.default_rng(seed)
    labels_N = rng.permutation(np.repeat(np.arange(3), counts))
    logits_NK = rng.normal(size=(len(labels_N), 3))
    logits_NK[np.arange(len(labels_N)), labels_N] += 2
    return logits_NK.astype(np.float32), labels_N


def constant(labels_N, answer=0):
    logits_NK = np.zeros((len(labels_N), 3), np.float32)
    logits_NK[:, answer] = 4
    return logits_NK, labels_N


def test_the_record_is_written_and_read_back_and_its_parts_agree(tmp_path):
    test, val = drawn(0), drawn(1)
    found = evaluate_quality(test, val, CLASSES)
    found.write(tmp_path)
    assert Quality.read(tmp_path) == found
    predicted_N = test[0].argmax(1)
    assert found.accuracy == pytest.approx((predicted_N == test[1]).mean(), abs=1e-6)
    right = sum(found.confusion[label].get(label, 0) for label in CLASSES)
    assert right / found.images == pytest.approx(found.accuracy, abs=1e-6)
    for row in found.classes:
        assert sum(found.confusion[row.label].values()) == row.images
        assert sum(found.confusion[true].get(row.label, 0) for true in CLASSES) == row.predicted
    assert found.answers[0].coverage == 1
    assert found.answers[0].test_risk == pytest.approx(1 - found.accuracy, abs=1e-6)
    assert [row.threshold for row in found.answers] == list(THRESHOLDS)
    assert found.auroc is None
    assert found.confused(1)[0][2] == max(count for *_, count in found.confused(99))


def test_the_temperature_is_fitted_on_validation_images_alone():
    val = drawn(1)
    one, other = (evaluate_quality(drawn(seed), val, CLASSES) for seed in (2, 3))
    assert one.temperature == other.temperature
    assert [row.coverage for row in one.answers] == [row.coverage for row in other.answers]
    assert one.answers != other.answers  # their test columns


def test_the_summary_of_a_constant_answer_names_the_classes_it_misses():
    _, labels_N = drawn(0)
    found = evaluate_quality(constant(labels_N), drawn(1), CLASSES).summary()
    assert found.balanced_accuracy == found.chance == pytest.approx(1 / 3, abs=1e-6)
    assert found.min_class_recall == 0
    assert found.worst_class == "scratch"
    assert found.unrecognised == ("scratch", "dent")


def test_a_class_with_few_test_images_may_be_missed_by_chance():
    _, labels_N = drawn(0, (90, 20, MANY - 1))
    found = evaluate_quality(constant(labels_N), drawn(1), CLASSES).summary()
    assert found.unrecognised == ("scratch",)


def test_a_class_without_test_images_has_no_recall_and_does_not_count():
    test_NK, labels_N = drawn(0, (40, 40, 0))
    found = evaluate_quality((test_NK, labels_N), drawn(1), CLASSES)
    assert found.classes[2].recall is None
    assert found.summary().chance == 0.5


def test_two_classes_have_an_auroc():
    rng = np.random.default_rng(0)
    labels_N = rng.integers(2, size=100)
    logits_NK = np.stack([np.zeros(100), rng.normal(size=100) + 2 * labels_N], 1)
    found = evaluate_quality((logits_NK, labels_N), (logits_NK, labels_N), CLASSES[:2])
    assert found.auroc is not None
    assert 0.8 < found.auroc < 1
    swapped = evaluate_quality((-logits_NK, labels_N), (logits_NK, labels_N), CLASSES[:2])
    assert swapped.auroc == pytest.approx(1 - found.auroc, abs=1e-6)


def test_the_worst_mistakes_are_the_most_confident_errors():
    val = drawn(1)
    found = worst_mistakes(val, 2.0, CLASSES, 5)
    shares_NK = probabilities(val[0], 2.0)
    assert [row.confidence for row in found] == sorted(
        (row.confidence for row in found), reverse=True
    )
    for row in found:
        assert row.true == CLASSES[val[1][row.index]] != row.predicted
        assert row.confidence == pytest.approx(shares_NK[row.index].max(), abs=1e-6)
    wrong = int((shares_NK.argmax(1) != val[1]).sum())
    assert len(worst_mistakes(val, 2.0, CLASSES, 10_000)) == wrong


@pytest.mark.parametrize(
    ("threshold", "listed"), [(0.0, 0.0), (0.93, 0.9), (0.95, 0.95), (1.0, 0.999)]
)
def test_a_threshold_is_answered_by_the_largest_listed_one_below_it(threshold, listed):
    found = evaluate_quality(drawn(0), drawn(1), CLASSES)
    assert found.answers_at(threshold).threshold == listed
