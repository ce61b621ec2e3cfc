"""`quality.json`: how well a delivered network does, on the test and validation images.

Reported metrics are of the test split; the temperature is fitted on validation images, and a
user's threshold of confidence is chosen by their coverage and risk. No import of NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

from pydantic import Field, field_validator

from core.artifact import Artifact, Record, Rounded

SHOWN_THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Thresholds of confidence that the report and the model card show."""
MANY = 10
"""Least number of test images of a class from which it must be recognised at least once."""
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class ClassQuality(Record):
    """One class on the test split."""

    label: str
    images: Count
    predicted: Count
    """Images that are predicted to be of this class."""
    precision: Share | None
    """Share of right ones among them; None without any."""
    recall: Share | None
    """Share of the class's images that are recognised; None without any."""


class Bin(Record):
    """Test images of similar confidence; None without any."""

    images: Count
    confidence: Rounded
    accuracy: Rounded


class Answers(Record):
    """What `--min-confidence` at this threshold does; risks are None where nothing is answered."""

    threshold: Share
    coverage: Share
    """Share of the validation images that are answered."""
    risk: Share | None
    """Share of wrong answers among them."""
    test_coverage: Share
    test_risk: Share | None


class QualitySummary(Record):
    """What gate and tables need of a network's quality; None for what the images do not give."""

    balanced_accuracy: Share
    """Mean recall of the classes that have test images."""
    chance: Share
    """Balanced accuracy of a constant answer."""
    min_class_recall: Share
    worst_class: str
    """The class with that recall."""
    unrecognised: tuple[str, ...] = Field(strict=False)
    """Classes with `MANY` or more test images of which none is recognised."""
    ece: Share
    """Expected calibration error at the temperature, 15 bins."""
    temperature: float = Field(gt=0)
    """Divides the logits before the softmax; fitted on validation images."""
    auroc: Share | None
    """Area under the ROC curve; None unless there are two classes."""


class Quality(Artifact):
    """Metrics of a delivered network."""

    SCHEMA = "netwright/quality/1"
    FILE = "quality.json"

    images: int = Field(ge=1)
    """Test images."""
    val_images: int = Field(ge=1)
    accuracy: Share
    """Top-1."""
    balanced_accuracy: Share
    auroc: Share | None
    classes: tuple[ClassQuality, ...] = Field(min_length=1, strict=False)
    """In label order."""
    confusion: dict[str, dict[str, Annotated[int, Field(ge=1)]]]
    """Test images by true and by predicted class; pairs without images are left out."""
    temperature: float = Field(gt=0)
    ece: Share
    ece_uncalibrated: Share
    """The calibration error at temperature 1."""
    bins: tuple[Bin, ...] = Field(strict=False)
    """Reliability of the test images at the temperature, in bins of equal width."""
    answers: tuple[Answers, ...] = Field(min_length=1, strict=False)
    """By increasing threshold, from 0."""

    @field_validator("answers")
    @classmethod
    def _rising(cls, answers: tuple[Answers, ...]) -> tuple[Answers, ...]:
        thresholds = [row.threshold for row in answers]
        if thresholds[0] != 0 or any(a >= b for a, b in pairwise(thresholds)):
            raise ValueError("thresholds begin with 0 and rise from one to the next")
        return answers

    def summary(self) -> QualitySummary:
        """Return the summary."""
        known = [(row.recall, row.label) for row in self.classes if row.recall is not None]
        recall, worst = min(known, key=lambda pair: pair[0])
        return QualitySummary(
            balanced_accuracy=self.balanced_accuracy,
            chance=round(1 / len(known), 6),
            min_class_recall=recall,
            worst_class=worst,
            unrecognised=tuple(
                row.label for row in self.classes if row.recall == 0 and row.images >= MANY
            ),
            ece=self.ece,
            temperature=self.temperature,
            auroc=self.auroc,
        )

    def answers_at(self, threshold: float) -> Answers:
        """Return the row of the largest listed threshold that is not above this one."""
        return max(
            (row for row in self.answers if row.threshold <= threshold),
            key=lambda row: row.threshold,
        )

    def confused(self, most: int) -> list[tuple[str, str, int]]:
        """Return the most frequent errors: true class, predicted class, images."""
        pairs = sorted(self._errors(), key=lambda row: (-row[2], row[0], row[1]))
        return pairs[:most]

    def _errors(self) -> Iterator[tuple[str, str, int]]:
        for true, row in self.confusion.items():
            yield from ((true, other, count) for other, count in row.items() if other != true)
