"""Evaluate a network's quality from its logits. Axes: N images, K classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.artifact import Record
from core.files import rounded
from models.quality.metrics import (
    Int64,
    Logits,
    auroc,
    balanced_accuracy,
    confusion_matrix,
    coverage_and_risk,
    fit_temperature,
    precisions,
    probabilities,
    recalls,
    reliability,
)
from models.quality.record import Answers, Bin, ClassQuality, Quality

THRESHOLDS = (*(step / 20 for step in range(20)), 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
"""Thresholds of confidence whose coverage and risk are listed."""


class Mistake(Record):
    """A validation image that the network gets wrong."""

    index: int
    """Its index in the validation split."""
    true: str
    predicted: str
    confidence: float
    """Probability of the predicted class, at the temperature."""


def evaluate_quality(
    test: tuple[Logits, Int64], val: tuple[Logits, Int64], classes: Sequence[str]
) -> Quality:
    """Evaluate a network by its logits (N, K) and the labels (N,) of both splits.

    Raises:
        ValueError: a split has no images, or logits and labels do not match.
    """
    (test_NK, test_N), (val_NK, val_N) = test, val
    matrix_KK = confusion_matrix(test_N, test_NK.argmax(1), len(classes))
    temperature = round(fit_temperature(val_NK, val_N), 6)
    calibrated = reliability(probabilities(test_NK, temperature), test_N)
    bins = zip(calibrated.images_B, calibrated.confidence_B, calibrated.accuracy_B, strict=True)
    return Quality(
        images=len(test_N),
        val_images=len(val_N),
        accuracy=round(float(np.trace(matrix_KK) / len(test_N)), 6),
        balanced_accuracy=round(balanced_accuracy(matrix_KK), 6),
        auroc=_auroc(test_NK, test_N),
        classes=_classes(matrix_KK, classes),
        confusion={
            true: {classes[column]: int(row_K[column]) for column in np.flatnonzero(row_K).tolist()}
            for true, row_K in zip(classes, matrix_KK, strict=True)
        },
        temperature=temperature,
        ece=round(calibrated.error, 6),
        ece_uncalibrated=round(reliability(probabilities(test_NK), test_N).error, 6),
        bins=tuple(
            Bin(images=int(images), confidence=rounded(confidence), accuracy=rounded(accuracy))
            for images, confidence, accuracy in bins
        ),
        answers=tuple(_answers(test, val, temperature)),
    )


def worst_mistakes(
    val: tuple[Logits, Int64], temperature: float, classes: Sequence[str], most: int
) -> tuple[Mistake, ...]:
    """Return the wrong answers on validation images, the most confident first."""
    logits_NK, labels_N = val
    shares_NK = probabilities(logits_NK, temperature)
    predicted_N, confidence_N = shares_NK.argmax(1), shares_NK.max(1)
    wrong = np.flatnonzero(predicted_N != labels_N)
    ordered = wrong[np.argsort(-confidence_N[wrong], kind="stable")][:most].tolist()
    return tuple(
        Mistake(
            index=index,
            true=classes[int(labels_N[index])],
            predicted=classes[int(predicted_N[index])],
            confidence=round(float(confidence_N[index]), 6),
        )
        for index in ordered
    )


def _classes(matrix_KK: Int64, classes: Sequence[str]) -> tuple[ClassQuality, ...]:
    precisions_K, recalls_K = precisions(matrix_KK), recalls(matrix_KK)
    return tuple(
        ClassQuality(
            label=label,
            images=int(matrix_KK[k].sum()),
            predicted=int(matrix_KK[:, k].sum()),
            precision=rounded(precisions_K[k]),
            recall=rounded(recalls_K[k]),
        )
        for k, label in enumerate(classes)
    )


def _auroc(logits_NK: Logits, labels_N: Int64) -> float | None:
    """The AUROC of two classes, by the difference of their logits."""
    if logits_NK.shape[1] != 2:
        return None
    scores_N = logits_NK[:, 1].astype(np.float64) - logits_NK[:, 0]
    return rounded(auroc(scores_N, labels_N == 1))


def _answers(
    test: tuple[Logits, Int64], val: tuple[Logits, Int64], temperature: float
) -> list[Answers]:
    rows = []
    for threshold in THRESHOLDS:
        found: list[float] = []
        for logits_NK, labels_N in (val, test):
            shares_NK = probabilities(logits_NK, temperature)
            correct_N = shares_NK.argmax(1) == labels_N
            found += coverage_and_risk(shares_NK.max(1), correct_N, threshold)
        coverage, risk, test_coverage, test_risk = found
        rows.append(
            Answers(
                threshold=threshold,
                coverage=round(coverage, 6),
                risk=rounded(risk),
                test_coverage=round(test_coverage, 6),
                test_risk=rounded(test_risk),
            )
        )
    return rows
