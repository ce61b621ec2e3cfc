"""Equivalence checks: every step from supernet to device must preserve the network's function.

A check compares two variants of a network on the same real images: by their logits, by the
agreement of their predictions, and by their accuracy. Axes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.floating[Any]]


class EquivalenceError(ValueError):
    """A variant of the network differs from its source; the message names both."""


@dataclass(frozen=True)
class Limits:
    """Limits of an equivalence check.

    Attributes:
        max_difference: largest absolute difference of any logit; None if it could not be scaled
            because nothing was measured.
        agreement: minimum share of images with the same prediction.
        accuracy_drop: maximum loss of top-1 accuracy, as a share of the images.
    """

    max_difference: float | None
    agreement: float
    accuracy_drop: float


@dataclass(frozen=True)
class EquivalenceCheck:
    """The result of comparing two variants of a network.

    Attributes:
        source: the variant compared against, such as `subnet`.
        target: the variant made from it, such as `float32 ONNX`.
        max_difference: largest absolute difference of any logit.
        agreement: share of images whose most probable class is the same.
        source_accuracy: top-1 of the source on these images.
        target_accuracy: top-1 of the target on these images.
        images: how many images were compared.
        limits: what is allowed.
    """

    source: str
    target: str
    max_difference: float
    agreement: float
    source_accuracy: float
    target_accuracy: float
    images: int
    limits: Limits

    @property
    def agrees(self) -> bool:
        """Whether logits and predictions agree within the limits, regardless of accuracy."""
        largest = self.limits.max_difference
        close = largest is None or self.max_difference <= largest
        return close and self.agreement >= self.limits.agreement

    @property
    def passed(self) -> bool:
        """Whether all three limits hold."""
        # Recorded accuracies are rounded; a limit met exactly passes.
        lost = self.source_accuracy - self.target_accuracy
        return self.agrees and lost <= self.limits.accuracy_drop + 1e-6

    def require(self, way_out: str = "") -> None:
        """Raise if the check failed.

        Args:
            way_out: what the user can do, as a sentence at the end of the message.

        Raises:
            EquivalenceError: a limit does not hold.
        """
        if not self.passed:
            largest = self.limits.max_difference
            allowed = "any" if largest is None else f"at most {largest:.4g}"
            raise EquivalenceError(
                f"the step from {self.source} to {self.target} changes the network: on "
                f"{self.images} images the logits differ by up to {self.max_difference:.4g} "
                f"({allowed} allowed), {self.agreement:.4f} of the predictions agree "
                f"(at least {self.limits.agreement:g} needed), and accuracy goes from "
                f"{self.source_accuracy:.4f} to {self.target_accuracy:.4f} (a loss of at most "
                f"{self.limits.accuracy_drop:g} allowed). {way_out}".rstrip()
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "from": self.source,
            "to": self.target,
            "max_difference": float(f"{self.max_difference:.6g}"),
            "agreement": round(self.agreement, 6),
            "accuracy": round(self.target_accuracy, 6),
            "accuracy_before": round(self.source_accuracy, 6),
            "images": self.images,
            "limit": _limits_json(self.limits),
            "passed": self.passed,
            "why_not_measured": None,
        }


def compare(
    source: str,
    target: str,
    expected_NK: Logits,
    found_NK: Logits,
    labels_N: npt.NDArray[np.int64],
    limits: Limits,
) -> EquivalenceCheck:
    """Compare two variants of a network by their logits.

    Args:
        source: name of the variant that gave `expected_NK`.
        target: name of the variant that gave `found_NK`.
        expected_NK: logits of the source.
        found_NK: logits of the target, for the same images in the same order.
        labels_N: the images' true classes.
        limits: what is allowed.

    Raises:
        EquivalenceError: the logits are not of the same images.
    """
    if expected_NK.shape != found_NK.shape or not len(expected_NK) == len(labels_N) > 0:
        raise EquivalenceError(
            f"the step from {source} to {target} cannot be checked: logits of shape "
            f"{expected_NK.shape} against {found_NK.shape}, for {len(labels_N)} labels."
        )
    difference = np.abs(expected_NK.astype(np.float64) - found_NK.astype(np.float64))
    # A NaN logit must never compare as a small difference.
    largest = float(np.where(np.isnan(difference), np.inf, difference).max())
    before_N, after_N = expected_NK.argmax(1), found_NK.argmax(1)
    return EquivalenceCheck(
        source,
        target,
        min(largest, float(np.finfo(np.float32).max)),
        float((before_N == after_N).mean()),
        float((before_N == labels_N).mean()),
        float((after_N == labels_N).mean()),
        len(expected_NK),
        limits,
    )


def onnx_name(name: str) -> str:
    """Name of a variant's ONNX file in equivalence checks; a variant is e.g. `int8-entropy`."""
    return f"{name} ONNX"


def scaled(share: float, logits_NK: Logits) -> float:
    """A difference limit relative to the largest absolute logit."""
    return float(f"{share * float(np.abs(logits_NK).max()):.6g}")


def unmeasured_check(source: str, target: str, limits: Limits, why: str) -> dict[str, Any]:
    """The JSON of a check that cannot run on this machine: no numbers, and the reason.

    Args:
        source: the variant compared against.
        target: the variant that cannot run on this machine.
        limits: what would be allowed.
        why: the reason, as a sentence.
    """
    names = ("max_difference", "agreement", "accuracy", "accuracy_before", "passed")
    numbers = dict.fromkeys(names)
    rest = {"images": 0, "limit": _limits_json(limits), "why_not_measured": why}
    return {"from": source, "to": target, **numbers, **rest}


def require_checks(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise unless the checks connect the first variant to the last, each within its limits.

    The numbers are compared with the limits again; a row's own `passed` is not trusted.

    Args:
        rows: checks as written by `EquivalenceCheck.to_json` and `unmeasured_check`.

    Raises:
        EquivalenceError: a check is missing, failed, or its `passed` is wrong.
    """
    if not rows:
        raise EquivalenceError("there are no equivalence checks.")
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and before["to"] != row["from"]:
            raise EquivalenceError(
                f"an equivalence check from {before['to']} to {row['from']} is missing."
            )
        if row["why_not_measured"] is not None:
            continue
        if row["max_difference"] is None:
            raise EquivalenceError(f"the step from {row['from']} to {row['to']} was not checked.")
        check = _from_json(row)
        check.require()
        if row["passed"] is not True:
            raise EquivalenceError(
                f"the step from {row['from']} to {row['to']} is marked as failed."
            )


def _from_json(row: Mapping[str, Any]) -> EquivalenceCheck:
    limit = row["limit"]
    return EquivalenceCheck(
        row["from"],
        row["to"],
        row["max_difference"],
        row["agreement"],
        row["accuracy_before"],
        row["accuracy"],
        row["images"],
        Limits(limit["max_difference"], limit["agreement"], limit["accuracy_drop"]),
    )


def _limits_json(limits: Limits) -> dict[str, Any]:
    return asdict(limits)
