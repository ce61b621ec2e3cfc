"""Arms of a comparison, trained with the same seeds: means, and differences seed by seed."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from scipy.stats import t as student
from torch import nn

from core.files import write_json
from models.training.learning import Images

SCHEMA = "netwright/benchmark/arms/1"
Accuracies = Mapping[str, Sequence[float]]
"""Per arm one accuracy a seed, the same seeds in the same order for all."""


class Difference(NamedTuple):
    """How much better one arm is than another, from the differences seed by seed."""

    mean: float
    std: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What the interval allows to say."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "undecided"


def paired(better: Sequence[float], than: Sequence[float]) -> Difference:
    """Mean difference with its 95% interval (Student's t over the seeds)."""
    rows = [a - b for a, b in zip(better, than, strict=True)]
    mean, std = statistics.fmean(rows), statistics.stdev(rows)
    reach = float(student.ppf(0.975, len(rows) - 1)) * std / len(rows) ** 0.5
    return Difference(mean, std, mean - reach, mean + reach)


def arm_row(name: str, values: Sequence[float]) -> list[str]:
    """A table's row: each seed's accuracy, mean and standard deviation."""
    mean, std = statistics.fmean(values), statistics.stdev(values)
    return [name, *(f"{value:.4f}" for value in values), f"**{mean:.4f}**", f"{std:.4f}"]


def difference_row(name: str, found: Difference) -> list[str]:
    """A table's row, in points of accuracy (hundredths)."""
    mean, std, low, high = (100 * value for value in found)
    return [name, f"{mean:+.2f}", f"{std:.2f}", f"{low:+.2f} to {high:+.2f}", found.verdict]


def unseen_accuracy(images: Images, network: nn.Module) -> float:
    """Accuracy on validation and test images together: no arm is chosen by either."""
    val, test = len(images.val), len(images.test)
    right = images.accuracy(network, "val") * val + images.accuracy(network, "test") * test
    return right / (val + test)


DIFFERENCE_HEAD = ("difference", "mean, points", "std", "95% interval", "verdict")


class Ledger:
    """Accuracies of finished trainings in a file, so that a stopped benchmark goes on.

    Args:
        file: JSON; it need not exist.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._rows: dict[str, dict[str, float]] = {}
        if file.is_file():
            self._rows = json.loads(file.read_text(encoding="utf-8"))["rows"]

    def get(self, key: str, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
        """What is known under `key`, computed and written down where nothing is."""
        if key not in self._rows:
            self._rows[key] = compute()
            write_json(self.file, SCHEMA, {"rows": self._rows})
        return self._rows[key]
