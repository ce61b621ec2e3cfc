"""The table of ranking indicators. To add one, add a function and a line in the table.

An indicator scores one architecture at a time. `aggregate`, the mean rank over several indicators,
is not in the table: it needs all candidates' scores (`models.predict.ranking.mean_ranks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from data.stream import Batch
from models.nets.indicators import bn_indicator
from models.nets.supernet import Supernet
from models.predict.predictor import Predictor
from models.search.evaluation import Evaluate, Evaluation, recalibrated_evaluation
from models.space.architecture import Architecture
from models.space.stage_features import stage_features

AGGREGATE = "aggregate"
PREDICTED = "accuracy_predictor"


@dataclass(frozen=True)
class Evidence:
    """Inputs of the indicators; none modifies the supernet."""

    supernet: Supernet
    calibration: Sequence[Tensor]
    """Batches of training images, for batch norm statistics."""
    held_out: Sequence[Batch]
    predictor: Predictor | str = "no search evaluated anything."
    """Of held-out NLL, fitted on the architectures evaluated by the search; or the reason why there
    is none."""
    sizes: Sequence[int] = ()
    """Layers per stage of the space, for the predictor's features."""

    @cached_property
    def _evaluate(self) -> Evaluate:
        return recalibrated_evaluation(self.supernet, self.calibration, self.held_out)

    def evaluation(self, architecture: Architecture) -> Evaluation:
        """NLL and accuracy of the slice on the held-out images; computed once per architecture."""
        (found,) = self._evaluate(0, [architecture])
        return found


Indicator = Callable[[Evidence, Architecture], float]
"""A score of an architecture; higher is better."""


def supernet_log_likelihood(evidence: Evidence, architecture: Architecture) -> float:
    """Mean log-likelihood of the held-out labels, the slice's negative NLL, in nats per image.

    It orders networks that answer as many images rightly, which many do.
    """
    return -evidence.evaluation(architecture).nll


def supernet_accuracy(evidence: Evidence, architecture: Architecture) -> float:
    """Held-out accuracy of the supernet's slice, with recalibrated batch norms."""
    return evidence.evaluation(architecture).accuracy


def bn_sum(evidence: Evidence, architecture: Architecture) -> float:
    """The BN indicator of the paper: a sum over layers."""
    return bn_indicator(evidence.supernet, architecture)


def bn_mean(evidence: Evidence, architecture: Architecture) -> float:
    """The BN indicator divided by the number of present layers."""
    return bn_indicator(evidence.supernet, architecture, per_layer=True)


def predicted(evidence: Evidence, architecture: Architecture) -> float:
    """The negative NLL predicted from the architecture's features.

    Single evaluations are on one batch each; the predictor averages over all of them.
    """
    assert isinstance(evidence.predictor, Predictor), "see `available`"
    return -evidence.predictor.predict(stage_features(architecture, evidence.sizes))


def available(evidence: Evidence) -> dict[str, Indicator]:
    """The indicators whose data are available."""
    missing = {PREDICTED} if isinstance(evidence.predictor, str) else set()
    return {name: score for name, score in INDICATORS.items() if name not in missing}


INDICATORS: Mapping[str, Indicator] = {
    "supernet_log_likelihood": supernet_log_likelihood,
    "supernet_accuracy": supernet_accuracy,
    "bn_indicator": bn_sum,
    "bn_indicator_per_layer": bn_mean,
    PREDICTED: predicted,
}
