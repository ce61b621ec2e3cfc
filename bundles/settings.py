"""Params of the stage `bundle`."""

from __future__ import annotations

from pydantic import Field

from core.settings import Params


class Tolerance(Params):
    """Upper limits of the golden-output tolerance, as shares of the largest golden logit.

    The tolerance is derived from the measured difference of the delivered file up to these
    limits; it equals them if the file cannot run on this machine.
    """

    float32: float = Field(0.001, gt=0, lt=1)
    """For networks delivered in float32."""
    float16: float = Field(0.02, gt=0, lt=1)
    """For networks delivered in float16."""
    int8: float = Field(0.1, gt=0, lt=1)
    """For networks delivered in int8."""


class BundleParams(Params):
    """Section `bundle` of `params.yaml`."""

    golden_images: int = Field(8, ge=1, le=1000)
    """Number of test images stored in the bundle with their expected outputs."""
    tolerance: Tolerance = Tolerance()
    """Upper limits of the tolerance of those outputs, per precision."""
