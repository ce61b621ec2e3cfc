"""A written predictor, evaluated by the formula that its file states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def predict(content: Mapping[str, Any], row: Mapping[str, float]) -> float:
    """The prediction of `predictor.json` for one row of features."""
    total = float(content["intercept"])
    for term in content["terms"]:
        product = math.prod(row[n] - content["features"][n]["mean"] for n in term["features"])
        total += term["coefficient"] * (product - term["mean"])
    return math.exp(total) if content["scale"] == "log" else total
