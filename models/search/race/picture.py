"""The picture of a device's race: rungs as curves, and networks over their cost."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.space.limits import UNITS

_COLOURS = {
    "search": "#0072b2",
    "control": "#7f7f7f",
    "random": "#b0b0b0",
    "deepest": "#009e73",
    "largest": "#e69f00",
    "width-scaled": "#cc79a7",
    "earlier winner": "#d55e00",
    "guided": "#56b4e9",
    "joint": "#a07000",
}
"""By origin; colour-blind safe after Okabe and Ito."""
_OTHER = "#404040"


@dataclass(frozen=True)
class Curve:
    """A network: (steps, NLL, accuracy) at its rungs, and its cost on the device."""

    origin: str
    rungs: Sequence[tuple[int, float, float]]
    cost: float | None
    winner: bool

    @property
    def colour(self) -> str:
        """Of its origin."""
        return _COLOURS.get(self.origin, _OTHER)


def race_png(device: str, curves: Sequence[Curve], axis: str, budget: float | None) -> bytes:
    """Draw a device's race as PNG; the same race gives the same bytes."""
    # No pyplot: it keeps global state and looks for a display.
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _rungs(left, curves)
    _costs(right, curves, axis, budget)
    figure.suptitle(f"Race of {device}", x=0.02, ha="left", weight="bold")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def _rungs(axes: Axes, curves: Sequence[Curve]) -> None:
    shown: set[str] = set()
    for curve in curves:
        steps, nll, _ = zip(*curve.rungs, strict=True)
        label = None if curve.origin in shown else curve.origin
        shown.add(curve.origin)
        axes.plot(
            steps, nll, marker="o", markersize=4, color=curve.colour, label=label,
            linewidth=2.4 if curve.winner else 1, zorder=3 if curve.winner else 2,
        )  # fmt: skip
    axes.set(xlabel="training steps", ylabel="NLL on validation images (nats)")
    axes.legend(fontsize=8)


def _costs(axes: Axes, curves: Sequence[Curve], axis: str, budget: float | None) -> None:
    known = [curve for curve in curves if curve.cost is not None]
    steps = min((curve.rungs[0][0] for curve in known), default=0)
    for curve in known:
        axes.scatter(
            [curve.cost or 0.0], [curve.rungs[0][2]], color=curve.colour, zorder=3,
            s=90 if curve.winner else 30, marker="*" if curve.winner else "o",
        )  # fmt: skip
    if budget is not None:
        axes.axvline(budget, color="crimson", linestyle="--", linewidth=1)
    axes.set(xlabel=UNITS.get(axis, axis), ylabel=f"validation accuracy after {steps} steps")
