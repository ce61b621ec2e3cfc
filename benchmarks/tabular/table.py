"""NAS-Bench-Macro as something to search in: true accuracies, and evaluations as they would be.

Algorithms learn from an NLL. Of a published network only the accuracy `p` is known, so its
prediction is taken as the one of largest entropy with that accuracy: `p` for its own answer and
`(1 - p) / 9` for each other class. The NLL of images of which it gets the share `r` right is then

    -r * ln(p) - (1 - r) * ln((1 - p) / 9)

Which images, is the `Judge`'s part:
- `split`: all images of the table: `r = p`. Chance is which of three trainings the query meets.
- `batches`: as many images as the search stage takes. Each image has a difficulty for all networks,
  and a network gets it wrong where that plus its own luck passes the threshold of its accuracy (a
  Gaussian copula). The correlation lets two networks of 93% disagree on about 5% of the images,
  which gives a batch of 256 the default supernet's noise, relative to its networks' spread.

Axes: A architectures, T trainings, N images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from benchmarks.harness.presets import shown_space
from core.files import sha256_file
from models.search.algorithms.base import SharedParams
from models.search.evaluation import Evaluate, Evaluation
from models.space.architecture import Architecture
from models.space.distribution import Choices
from models.space.file import PRESETS
from models.space.space import SearchSpace

Array = npt.NDArray[np.float64]
Judge = Literal["split", "batches"]

CORRELATION = 0.85
"""Of the difficulties that two networks see in an image."""


class TableError(ValueError):
    """A file that is not the table."""


@dataclass(frozen=True)
class Table:
    """All networks of the preset `macro`, by the space's numbers; accuracies are in percent."""

    space: SearchSpace
    accuracies_AT: Array
    flops_A: Array
    sha256: str

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read the published table: eight digits to trainings and costs."""
        space = shown_space(PRESETS / "macro.yaml")
        rows: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = [np.base_repr(number, 3).zfill(8) for number in range(space.count())]
        missing = [name for name in names if name not in rows]
        if missing:
            raise TableError(
                f"{path} is not the table of NAS-Bench-Macro: it lacks {len(missing)} of "
                f"{len(names)} networks, such as '{missing[0]}'."
            )
        accuracies = np.array([rows[name]["test_acc"] for name in names], dtype=np.float64)
        flops = np.array([rows[name]["flops"] for name in names], dtype=np.float64)
        return cls(space, accuracies, flops, sha256_file(path))

    @cached_property
    def true_accuracies(self) -> Array:
        """The mean accuracy of each network's trainings, percent."""
        mean: Array = self.accuracies_AT.mean(axis=1)
        return mean

    @property
    def training_noise(self) -> float:
        """The mean spread of a network's trainings around their own mean, in points."""
        return float(self.accuracies_AT.std(axis=1).mean())

    def accuracy(self, choices: Choices) -> float:
        """The true accuracy of an architecture, percent."""
        return float(self.true_accuracies[self.number(choices)])

    def best(self, flops: float | None) -> float:
        """The highest true accuracy within a budget, percent."""
        allowed_A = self.flops_A <= (math.inf if flops is None else flops)
        return float(self.true_accuracies[allowed_A].max())

    def evaluation(self, params: SharedParams, judge: Judge, seed: int, same: bool) -> Evaluate:
        """How architectures are judged: always on the `same` images, or on a batch per step."""
        images = None if judge == "split" else params.fitness_images if same else params.batch
        known: dict[Architecture, Evaluation] = {}

        def evaluate(step: int, architectures: Sequence[Architecture]) -> list[Evaluation]:
            rng = np.random.default_rng([seed, step])
            # The same images in every step need the same difficulties.
            difficulty = np.random.default_rng([seed] if same else [seed, step, 1])
            shared_N = difficulty.standard_normal(images or 0)
            if not same:
                known.clear()
            for one in architectures:
                if one not in known:
                    known[one] = self.query(self.number(self.space.choices(one)), shared_N, rng)
            return [known[one] for one in architectures]

        return evaluate

    def query(self, number: int, shared_N: Array, rng: np.random.Generator) -> Evaluation:
        """What one training of a network, drawn at random, is found to be worth on these images."""
        accuracy = float(rng.choice(self.accuracies_AT[number])) / 100
        right = accuracy
        if len(shared_N):
            own_N = rng.standard_normal(len(shared_N))
            hard_N = math.sqrt(CORRELATION) * shared_N + math.sqrt(1 - CORRELATION) * own_N
            right = float((hard_N < ndtri(accuracy)).mean())
        return Evaluation(nll(right, accuracy, self.space.classes), right)

    def number(self, choices: Choices) -> int:
        """The row of an architecture."""
        return int(np.ravel_multi_index(choices, self._sizes))

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(len(group.candidates) for group in self.space.groups)


def nll(right: float, accuracy: float, classes: int) -> float:
    """Mean cross-entropy of images of which the share `right` is answered rightly, in nats."""
    others = (1 - accuracy) / (classes - 1)
    return -right * math.log(accuracy) - (1 - right) * math.log(others)
