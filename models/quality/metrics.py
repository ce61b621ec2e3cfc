"""Metrics of a classifier, from its logits on labelled images. NumPy only.

A share without images (0 of 0) is NaN. Axes: N images, K classes, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

BINS = 15
"""Bins of the calibration error, as in Guo et al. 2017."""
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 20.0
_HALVINGS = 60  # of an interval of length 6: far below the rounding of the result


def confusion_matrix(labels_N: Int64, predicted_N: Int64, classes: int) -> Int64:
    """Images by true class (rows) and predicted class (columns), (K, K).

    Raises:
        ValueError: no images, other lengths, or a class outside 0 to `classes` - 1.
    """
    if len(labels_N) == 0 or labels_N.shape != predicted_N.shape:
        raise ValueError(f"{len(labels_N)} labels and {len(predicted_N)} predictions: no metrics.")
    both = np.concatenate([labels_N, predicted_N])
    if both.min() < 0 or both.max() >= classes:
        raise ValueError(f"a label or prediction is outside 0 to {classes - 1}.")
    counts = np.bincount(labels_N * classes + predicted_N, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def recalls(confusion_KK: Int64) -> Float64:
    """Share of each class's images that are recognised, (K,)."""
    return _shares(np.diag(confusion_KK), confusion_KK.sum(1))


def precisions(confusion_KK: Int64) -> Float64:
    """Share of the answers of each class that are right, (K,)."""
    return _shares(np.diag(confusion_KK), confusion_KK.sum(0))


def balanced_accuracy(confusion_KK: Int64) -> float:
    """Mean recall of the classes that have images; a constant answer gives 1 / their number."""
    return float(np.nanmean(recalls(confusion_KK)))


def probabilities(logits_NK: Logits, temperature: float = 1.0) -> Float64:
    """Softmax of the logits divided by the temperature, (N, K)."""
    scaled_NK = logits_NK.astype(np.float64) / temperature
    weights_NK = np.exp(scaled_NK - scaled_NK.max(1, keepdims=True))
    shares_NK: Float64 = weights_NK / weights_NK.sum(1, keepdims=True)
    return shares_NK


def fit_temperature(logits_NK: Logits, labels_N: Int64) -> float:
    """The temperature that minimises the cross-entropy of held-out images.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2. The cross-entropy is
    convex in 1 / temperature, so its derivative is bisected. Each label keeps 1 - 1 / (N + 2) of
    its target, as in Platt 1999, section 2.2: a network without errors on few images would
    otherwise be given probabilities of 1. Within `LEAST_TEMPERATURE` and `MOST_TEMPERATURE`;
    1 if all logits of each image are equal.
    """
    z_NK = logits_NK.astype(np.float64)
    z_NK = z_NK - z_NK.max(1, keepdims=True)
    if not z_NK.any():
        return 1.0
    rest = 1 / (len(z_NK) + 2)
    own_N = z_NK[np.arange(len(z_NK)), labels_N]
    target = float(((1 - rest) * own_N + rest * z_NK.mean(1)).mean())
    low, high = np.log(1 / MOST_TEMPERATURE), np.log(1 / LEAST_TEMPERATURE)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = float((probabilities(z_NK, float(np.exp(-middle))) * z_NK).sum(1).mean())
        if expected < target:
            low = middle
        else:
            high = middle
    return float(np.exp(-(low + high) / 2))


@dataclass(frozen=True)
class Reliability:
    """Images by confidence, in bins of equal width from 0 to 1.

    Attributes:
        images_B: number of images.
        confidence_B: mean probability of the answers.
        accuracy_B: share of right answers.
    """

    images_B: Int64
    confidence_B: Float64
    accuracy_B: Float64

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of both, weighted by images (Guo 2017, 2)."""
        gaps_B = np.abs(self.confidence_B - self.accuracy_B)
        return float(np.nansum(gaps_B * self.images_B) / self.images_B.sum())


def reliability(probabilities_NK: Float64, labels_N: Int64, bins: int = BINS) -> Reliability:
    """Confidence and accuracy of the most probable class; a bin contains its upper end."""
    confidence_N = probabilities_NK.max(1)
    correct_N = probabilities_NK.argmax(1) == labels_N
    index_N = np.clip(np.ceil(confidence_N * bins).astype(np.int64) - 1, 0, bins - 1)
    images_B = np.bincount(index_N, minlength=bins)
    sums_B = np.bincount(index_N, confidence_N, bins)
    right_B = np.bincount(index_N, correct_N.astype(np.float64), bins)
    return Reliability(images_B, _shares(sums_B, images_B), _shares(right_B, images_B))


def auroc(scores_N: Float64, positive_N: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve: probability that a positive image scores above a negative one.

    Ties count half (Mann and Whitney 1947); NaN unless both kinds have images.
    """
    _, index_N, count_U = np.unique(scores_N, return_inverse=True, return_counts=True)
    ranks_N = (np.cumsum(count_U) - (count_U - 1) / 2)[index_N]
    positives = int(positive_N.sum())
    negatives = len(positive_N) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    above = float(ranks_N[positive_N].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def coverage_and_risk(
    confidence_N: Float64, correct_N: npt.NDArray[np.bool_], threshold: float
) -> tuple[float, float]:
    """Share of images that are answered at a threshold, and share of wrong answers among them.

    El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification",
    section 2. The risk is NaN if nothing is answered.
    """
    answered_N = confidence_N >= threshold
    count = int(answered_N.sum())
    risk = float((~correct_N[answered_N]).mean()) if count else float("nan")
    return count / len(confidence_N), risk


def _shares(parts: npt.NDArray[Any], wholes: npt.NDArray[Any]) -> Float64:
    """Element-wise shares; NaN for 0 of 0."""
    shares = np.full(len(wholes), np.nan)
    np.divide(parts, wholes, out=shares, where=wholes > 0)
    return shares
