"""The table of ranking indicators. A new one is one function and one line in the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from data.stream import Batch
from models.architecture import Architecture
from models.evaluate import accuracy, recalibrate
from models.indicators import bn_indicator
from models.supernet import Supernet, extract


@dataclass(frozen=True)
class Evidence:
    """What indicators may look at.

    Attributes:
        supernet: trained; it is only read.
        calibration: batches of training images, for batch norms' statistics.
        held_out: batches of validation images.
    """

    supernet: Supernet
    calibration: Sequence[Tensor]
    held_out: Sequence[Batch]


Indicator = Callable[[Evidence, Architecture], float]
"""A score of an architecture; higher is better."""


def supernet_accuracy(evidence: Evidence, architecture: Architecture) -> float:
    """Held-out accuracy of the supernet's slice, with recalibrated batch norms."""
    subnet = extract(evidence.supernet, architecture)
    recalibrate(subnet, evidence.calibration)
    return accuracy(subnet.eval(), evidence.held_out)


def bn_sum(evidence: Evidence, architecture: Architecture) -> float:
    """The BN indicator as the paper has it: a sum over layers."""
    return bn_indicator(evidence.supernet, architecture)


def bn_mean(evidence: Evidence, architecture: Architecture) -> float:
    """The BN indicator per layer that is present."""
    return bn_indicator(evidence.supernet, architecture, per_layer=True)


INDICATORS: Mapping[str, Indicator] = {
    "supernet_accuracy": supernet_accuracy,
    "bn_indicator": bn_sum,
    "bn_indicator_per_layer": bn_mean,
}
