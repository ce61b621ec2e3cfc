"""Params of the stage `bundle`."""

from __future__ import annotations

from pydantic import Field

from stages.common.params import Params


class Tolerance(Params):
    """How far a bundle's outputs may be from its golden ones at most, on another machine.

    Shares of the largest golden logit. What was measured of the delivered file decides below it;
    these hold alone where the file does not run here.
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
    """Test images that travel with the bundle, with the outputs they must give."""
    tolerance: Tolerance = Tolerance()
    """How far the outputs may be from those, per precision."""
    signing_key: str | None = Field(None, min_length=1)
    """PEM file of an elliptic-curve private key by which `netwright run` signs what passed the
    gate, from the repository's root; None: nothing is signed. No stage reads it."""
