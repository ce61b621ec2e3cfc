"""The table of ranking indicators. A new one is one function and one line in the table.

An indicator scores one architecture by itself. `aggregate`, which joins the ranks of several, is
none of the table: it needs all candidates' scores (`models.ranking.mean_ranks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from data.stream import Batch
from models.architecture import Architecture
from models.evaluate import slice_accuracy
from models.indicators import bn_indicator
from models.predictors import Predictor
from models.stage_features import stage_features
from models.supernet import Supernet

AGGREGATE = "aggregate"
PREDICTED = "accuracy_predictor"


class UnavailableError(ValueError):
    """An indicator that was asked for and has nothing to go by; the message says why."""


@dataclass(frozen=True)
class Evidence:
    """What indicators may look at.

    Attributes:
        supernet: trained; it is only read.
        calibration: batches of training images, for batch norms' statistics.
        held_out: batches of validation images.
        predictor: of held-out NLL, fitted on the architectures that the search evaluated; or why
            there is none.
        sizes: layers per stage of the space, from which the predictor's features are counted.
    """

    supernet: Supernet
    calibration: Sequence[Tensor]
    held_out: Sequence[Batch]
    predictor: Predictor | str = "no search evaluated anything."
    sizes: Sequence[int] = ()


Indicator = Callable[[Evidence, Architecture], float]
"""A score of an architecture; higher is better."""


def supernet_accuracy(evidence: Evidence, architecture: Architecture) -> float:
    """Held-out accuracy of the supernet's slice, with recalibrated batch norms."""
    return slice_accuracy(evidence.supernet, architecture, evidence.calibration, evidence.held_out)


def bn_sum(evidence: Evidence, architecture: Architecture) -> float:
    """The BN indicator as the paper has it: a sum over layers."""
    return bn_indicator(evidence.supernet, architecture)


def bn_mean(evidence: Evidence, architecture: Architecture) -> float:
    """The BN indicator per layer that is present."""
    return bn_indicator(evidence.supernet, architecture, per_layer=True)


def predicted(evidence: Evidence, architecture: Architecture) -> float:
    """The negative NLL that the search's architectures predict by their readable features.

    Each was seen on one batch alone; what they have in common is seen on all of them.

    Raises:
        UnavailableError: there is no predictor.
    """
    if isinstance(evidence.predictor, str):
        raise UnavailableError(f"indicator {PREDICTED} cannot be had: {evidence.predictor}")
    return -evidence.predictor.predict(stage_features(architecture, evidence.sizes))


def available(evidence: Evidence) -> dict[str, Indicator]:
    """The indicators for which there is evidence."""
    missing = {PREDICTED} if isinstance(evidence.predictor, str) else set()
    return {name: score for name, score in INDICATORS.items() if name not in missing}


INDICATORS: Mapping[str, Indicator] = {
    "supernet_accuracy": supernet_accuracy,
    "bn_indicator": bn_sum,
    "bn_indicator_per_layer": bn_mean,
    PREDICTED: predicted,
}
