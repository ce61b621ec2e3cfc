"""The supernet stage's output: the weights, and an evaluation of some of its networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.artifact import Record
from core.files import write_bytes
from data.stream import eval_batches
from models.nets.evaluate import accuracy, recalibrate
from models.nets.pretrained.match import StartReport
from models.nets.supernet import SUPERNET_FILE, Supernet, extract
from models.nets.weights import to_bytes
from models.space.space import SearchSpace
from models.training.history import History
from models.training.learning import EVAL_BATCH, Images, spread
from models.training.probe import probe_subnet
from models.training.supernet.settings import SupernetParams

_REPORT = 3
"""Separates the random stream of the reported networks from that of the trained paths."""


class SampledNetwork(Record):
    """A random network of a supernet."""

    architecture_id: str
    short: str
    val_accuracy: float
    """By its own classifier, or by a linear probe on its features."""
    classifier_accuracy: float | None = None
    """By its own classifier, where `val_accuracy` is a probe's."""


class SupernetHistory(History):
    """The training of a supernet, and the accuracy of some of its networks."""

    space: str
    """Name of the search space."""
    architectures: int
    """Number of the space's architectures."""
    strategy: str
    start: StartReport | None = None
    """What matched of the weights it started from; None: random weights."""
    peak_step_bytes: int
    """Peak memory of a step, besides weights and batch."""
    judge: str
    """What `subnets` were evaluated with: the classifier, or a linear probe on features."""
    subnets: tuple[SampledNetwork, ...]


@dataclass(frozen=True)
class TrainedSupernet:
    """A trained supernet and its history.

    Attributes:
        note: of its file, see `models/nets/pretrained/supernet.py`.
    """

    supernet: Supernet
    history: SupernetHistory
    note: Mapping[str, Any]

    def write(self, out: Path) -> None:
        """Write the weights and `history.json`."""
        write_bytes(out / SUPERNET_FILE, to_bytes(self.supernet, self.note))
        self.history.write(out)


def sampled_accuracies(
    supernet: Supernet,
    space: SearchSpace,
    images: Images,
    params: SupernetParams,
    classifies: bool,
) -> tuple[SampledNetwork, ...]:
    """Validation accuracy of random networks with recalibrated batch norms.

    Unless the supernet `classifies`, a linear probe on each network's features is evaluated, too.
    """
    rng = np.random.default_rng([params.seed, _REPORT])
    calibration = images.calibration(params.recalibration_batches, params.batch, params.seed)
    train, val = spread(images.train, params.probe_images), spread(images.val, params.report_images)
    rows = []
    for _ in range(params.report_subnets):
        architecture = space.sample(rng)
        subnet = extract(supernet, architecture)
        recalibrate(subnet, calibration)
        own = accuracy(subnet.eval(), eval_batches(val, images.info, EVAL_BATCH))
        probed = None
        if not classifies:
            batches = (eval_batches(split, images.info, EVAL_BATCH) for split in (train, val))
            probed = probe_subnet(subnet, *batches)
        rows.append(
            SampledNetwork(
                architecture_id=architecture.id,
                short=architecture.short(),
                val_accuracy=round(own if probed is None else probed, 6),
                classifier_accuracy=None if probed is None else round(own, 6),
            )
        )
    return tuple(rows)
