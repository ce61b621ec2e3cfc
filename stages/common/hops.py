"""The identity chain: at every hop from supernet to device the network must stay the same one.

A hop compares two forms of one network on the same real images, by their logits. Axes: N images,
K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.floating[Any]]


class HopError(ValueError):
    """A form of the network is not the network it was made from; the message names the hop."""


@dataclass(frozen=True)
class Hop:
    """One step of the chain and how well it held.

    Attributes:
        source: the form compared against, such as `subnet`.
        target: the form made from it, such as `float32 ONNX`.
        max_difference: largest absolute difference of any logit.
        agreement: share of images whose most probable class is the same.
        images: how many images were compared.
        max_allowed: limit of `max_difference`; None where only agreement is judged.
        min_agreement: limit of `agreement`.
    """

    source: str
    target: str
    max_difference: float
    agreement: float
    images: int
    max_allowed: float | None
    min_agreement: float

    @property
    def passed(self) -> bool:
        """Whether both limits hold."""
        close = self.max_allowed is None or self.max_difference <= self.max_allowed
        return close and self.agreement >= self.min_agreement

    def require(self) -> None:
        """Stop a broken chain.

        Raises:
            HopError: a limit does not hold.
        """
        if not self.passed:
            largest = "any" if self.max_allowed is None else f"at most {self.max_allowed:g}"
            raise HopError(
                f"the hop from {self.source} to {self.target} changes the network: on "
                f"{self.images} images the logits differ by up to {self.max_difference:.4g} "
                f"({largest} allowed) and {self.agreement:.4f} of the predictions agree "
                f"(at least {self.min_agreement:g} needed)."
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "from": self.source,
            "to": self.target,
            "max_difference": float(f"{self.max_difference:.6g}"),
            "agreement": round(self.agreement, 6),
            "images": self.images,
            "limit": {"max_difference": self.max_allowed, "agreement": self.min_agreement},
            "passed": self.passed,
        }


def compare(
    source: str,
    target: str,
    expected_NK: Logits,
    found_NK: Logits,
    max_allowed: float | None,
    min_agreement: float,
) -> Hop:
    """Measure one hop.

    Args:
        source: name of the form that gave `expected_NK`.
        target: name of the form that gave `found_NK`.
        expected_NK: logits of the source.
        found_NK: logits of the target, for the same images in the same order.
        max_allowed: limit of the absolute difference, or None.
        min_agreement: limit of the share of equal predictions, 0 to 1.
    """
    if expected_NK.shape != found_NK.shape or len(expected_NK) == 0:
        raise HopError(
            f"the hop from {source} to {target} cannot be judged: logits of shape "
            f"{expected_NK.shape} against {found_NK.shape}."
        )
    difference = np.abs(expected_NK.astype(np.float64) - found_NK.astype(np.float64))
    # A logit that is not a number is as wrong as can be, and must never compare as small.
    largest = float(np.where(np.isnan(difference), np.inf, difference).max())
    return Hop(
        source,
        target,
        min(largest, float(np.finfo(np.float32).max)),
        float((expected_NK.argmax(1) == found_NK.argmax(1)).mean()),
        len(expected_NK),
        max_allowed,
        min_agreement,
    )
