"""Equivalence checks: every step from supernet to device must preserve the network's function.

A check compares two variants of a network on the same real images: by their logits, by the
agreement of their predictions, and by their accuracy. Axes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from core.artifact import Record
from core.settings import Params

Logits = npt.NDArray[np.floating[Any]]
Share = Annotated[float, Field(ge=0, le=1)]
Difference = Annotated[float, Field(ge=0)]


class EquivalenceError(ValueError):
    """A variant of the network differs from its source; the message names both."""


class AppliedLimits(Record):
    """Limits of one equivalence check."""

    max_difference: Difference | None
    """Largest absolute difference of any logit; None: not scaled, as nothing was measured."""
    agreement: Share
    """Least share of images with the same prediction."""
    accuracy_drop: Share
    """Largest loss of top-1 accuracy, as a share of the images."""


class Limits(Params):
    """Limits of equivalence checks."""

    difference: float = Field(gt=0)
    """Largest difference of any logit, as a share of the largest logit; for `float32`, absolute."""
    agreement: Share
    """Minimum share of test images with the same prediction."""
    accuracy_drop: Share
    """Largest loss of top-1 test accuracy; above it the stage fails. No precision is selected by
    it."""

    def scaled(self, scale: float | None = 1.0) -> AppliedLimits:
        """The limits with the difference times `scale`; None: nothing was measured to scale it."""
        difference = None if scale is None else float(f"{self.difference * scale:.6g}")
        return AppliedLimits(
            max_difference=difference, agreement=self.agreement, accuracy_drop=self.accuracy_drop
        )


class PrecisionLimits(Params):
    """Limits of equivalence checks by precision: of float32 files, and of those below."""

    float32: Limits = Limits(difference=0.001, agreement=0.999, accuracy_drop=0.001)
    lower: Limits

    def of(self, precision: str, expected_NK: Logits | None) -> AppliedLimits:
        """The limits of a file of a precision, given its source's logits if it was compared."""
        if precision == "float32":
            return self.float32.scaled()
        return self.lower.scaled(None if expected_NK is None else largest_logit(expected_NK))


class EquivalenceCheck(Record):
    """The comparison of two variants of a network; its numbers are None if it could not run."""

    source: str = Field(alias="from")
    """The variant compared against, such as `subnet`."""
    target: str = Field(alias="to")
    """The variant made from it, such as `float32 ONNX`."""
    max_difference: Difference | None = None
    """Largest absolute difference of any logit."""
    agreement: Share | None = None
    """Share of images whose most probable class is the same."""
    accuracy: Share | None = None
    """Top-1 of the target on these images."""
    accuracy_before: Share | None = None
    """Top-1 of the source on them."""
    images: int = Field(0, ge=0)
    """Number of images compared."""
    limit: AppliedLimits
    passed: bool | None = None
    """Whether the limits held when the check was recorded."""
    why_not_measured: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether logits and predictions agree within the limits, regardless of accuracy."""
        if self.max_difference is None or self.agreement is None:
            return False
        largest = self.limit.max_difference
        close = largest is None or self.max_difference <= largest
        return close and self.agreement >= self.limit.agreement

    @property
    def within_limits(self) -> bool:
        """Whether all three limits hold for the recorded numbers."""
        if self.accuracy is None or self.accuracy_before is None:
            return False
        # Recorded accuracies are rounded; a limit met exactly passes.
        return self.agrees and (
            self.accuracy_before - self.accuracy <= self.limit.accuracy_drop + 1e-6
        )

    def require(self, way_out: str = "") -> None:
        """Raise if a limit does not hold.

        Args:
            way_out: what the user can do, as a sentence at the end of the message.

        Raises:
            EquivalenceError: a limit does not hold.
        """
        if self.within_limits:
            return
        if None in (self.max_difference, self.agreement, self.accuracy, self.accuracy_before):
            raise EquivalenceError(f"the step from {self.source} to {self.target} was not checked.")
        largest = self.limit.max_difference
        allowed = "any" if largest is None else f"at most {largest:.4g}"
        raise EquivalenceError(
            f"the step from {self.source} to {self.target} changes the network: on "
            f"{self.images} images the logits differ by up to {self.max_difference:.4g} "
            f"({allowed} allowed), {self.agreement:.4f} of the predictions agree "
            f"(at least {self.limit.agreement:g} needed), and accuracy goes from "
            f"{self.accuracy_before:.4f} to {self.accuracy:.4f} (a loss of at most "
            f"{self.limit.accuracy_drop:g} allowed). {way_out}".rstrip()
        )


def compare(
    source: str,
    target: str,
    expected_NK: Logits,
    found_NK: Logits,
    labels_N: npt.NDArray[np.int64],
    limits: AppliedLimits,
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
    check = EquivalenceCheck(
        source=source,
        target=target,
        max_difference=float(f"{min(largest, float(np.finfo(np.float32).max)):.6g}"),
        agreement=round(float((before_N == after_N).mean()), 6),
        accuracy=round(float((after_N == labels_N).mean()), 6),
        accuracy_before=round(float((before_N == labels_N).mean()), 6),
        images=len(expected_NK),
        limit=limits,
    )
    return check.model_copy(update={"passed": check.within_limits})


def onnx_name(name: str) -> str:
    """Name of a variant's ONNX file in equivalence checks; a variant is e.g. `int8-entropy`."""
    return f"{name} ONNX"


def largest_logit(logits_NK: Logits) -> float:
    """The largest absolute logit, which scales the limit of a relative difference."""
    return float(np.abs(logits_NK).max())


def require_checks(checks: Sequence[EquivalenceCheck]) -> None:
    """Raise unless the checks connect the first variant to the last, each within its limits.

    The numbers are compared with the limits again; a check's own `passed` is not trusted.

    Raises:
        EquivalenceError: a check is missing, failed, or its `passed` is wrong.
    """
    if not checks:
        raise EquivalenceError("there are no equivalence checks.")
    for before, check in zip([None, *checks], checks, strict=False):
        if before is not None and before.target != check.source:
            raise EquivalenceError(
                f"an equivalence check from {before.target} to {check.source} is missing."
            )
        if check.why_not_measured is not None:
            continue
        check.require()
        if check.passed is not True:
            raise EquivalenceError(
                f"the step from {check.source} to {check.target} is marked as failed."
            )
