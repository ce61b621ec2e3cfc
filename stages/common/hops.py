"""The identity chain: at every hop from supernet to device the network must stay the same one.

A hop compares two forms of one network on the same real images: by their logits, by how often
they give the same answer, and by how often that is the right one. Axes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.floating[Any]]


class HopError(ValueError):
    """A form of the network is not the network it was made from; the message names the hop."""


@dataclass(frozen=True)
class Limits:
    """What a hop may cost.

    Attributes:
        max_difference: largest absolute difference of any logit; None where nobody could scale
            it, because nothing was measured.
        agreement: least share of images with the same answer.
        accuracy_drop: most top-1 accuracy that may be lost, as a share of the images.
    """

    max_difference: float | None
    agreement: float
    accuracy_drop: float


@dataclass(frozen=True)
class Hop:
    """One step of the chain and how well it held.

    Attributes:
        source: the form compared against, such as `subnet`.
        target: the form made from it, such as `float32 ONNX`.
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
        """Whether the two forms answer alike, whatever the right answers are."""
        largest = self.limits.max_difference
        close = largest is None or self.max_difference <= largest
        return close and self.agreement >= self.limits.agreement

    @property
    def passed(self) -> bool:
        """Whether all three limits hold."""
        # Recorded accuracies are rounded, and a limit met exactly is met.
        lost = self.source_accuracy - self.target_accuracy
        return self.agrees and lost <= self.limits.accuracy_drop + 1e-6

    def require(self, way_out: str = "") -> None:
        """Stop a broken chain.

        Args:
            way_out: what the user can do, as a sentence for the message's end.

        Raises:
            HopError: a limit does not hold.
        """
        if not self.passed:
            largest = self.limits.max_difference
            allowed = "any" if largest is None else f"at most {largest:.4g}"
            raise HopError(
                f"the hop from {self.source} to {self.target} changes the network: on "
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
) -> Hop:
    """Measure one hop.

    Args:
        source: name of the form that gave `expected_NK`.
        target: name of the form that gave `found_NK`.
        expected_NK: logits of the source.
        found_NK: logits of the target, for the same images in the same order.
        labels_N: the images' true classes.
        limits: what is allowed.

    Raises:
        HopError: these are not logits of the same images.
    """
    if expected_NK.shape != found_NK.shape or not len(expected_NK) == len(labels_N) > 0:
        raise HopError(
            f"the hop from {source} to {target} cannot be judged: logits of shape "
            f"{expected_NK.shape} against {found_NK.shape}, for {len(labels_N)} labels."
        )
    difference = np.abs(expected_NK.astype(np.float64) - found_NK.astype(np.float64))
    # A logit that is not a number is as wrong as can be, and must never compare as small.
    largest = float(np.where(np.isnan(difference), np.inf, difference).max())
    before_N, after_N = expected_NK.argmax(1), found_NK.argmax(1)
    return Hop(
        source,
        target,
        min(largest, float(np.finfo(np.float32).max)),
        float((before_N == after_N).mean()),
        float((before_N == labels_N).mean()),
        float((after_N == labels_N).mean()),
        len(expected_NK),
        limits,
    )


def onnx_form(name: str) -> str:
    """What the chain calls the ONNX file of a form of the network, such as `int8-entropy`."""
    return f"{name} ONNX"


def scaled(share: float, logits_NK: Logits) -> float:
    """A limit of the difference that grows with the logits: a share of the largest one."""
    return float(f"{share * float(np.abs(logits_NK).max()):.6g}")


def unmeasured(source: str, target: str, limits: Limits, why: str) -> dict[str, Any]:
    """The JSON of a hop that this machine cannot judge: no number, and why.

    Args:
        source: the form compared against.
        target: the form that cannot run here.
        limits: what would be allowed.
        why: as a sentence.
    """
    names = ("max_difference", "agreement", "accuracy", "accuracy_before", "passed")
    numbers = dict.fromkeys(names)
    rest = {"images": 0, "limit": _limits_json(limits), "why_not_measured": why}
    return {"from": source, "to": target, **numbers, **rest}


def require_chain(rows: Sequence[Mapping[str, Any]]) -> None:
    """Stop unless hops lead from the first form to the last, each within its limits.

    The numbers are held against the limits again; what a row says of itself counts for nothing.

    Args:
        rows: hops as `Hop.to_json` and `unmeasured` write them.

    Raises:
        HopError: a hop is missing, broken, or says that it holds when it does not.
    """
    if not rows:
        raise HopError("the identity chain has no hop at all.")
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and before["to"] != row["from"]:
            raise HopError(
                f"the identity chain has a gap: no hop from {before['to']} to {row['from']}."
            )
        if row["why_not_measured"] is not None:
            continue
        if row["max_difference"] is None:
            raise HopError(f"the hop from {row['from']} to {row['to']} was not measured.")
        hop = _from_json(row)
        hop.require()
        if row["passed"] is not True:
            raise HopError(f"the hop from {hop.source} to {hop.target} is marked as broken.")


def _from_json(row: Mapping[str, Any]) -> Hop:
    limit = row["limit"]
    return Hop(
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
