"""The fleet stage's output: `fleet.json`, `fleet.png`, and a network per device.

The picture shows the Pareto front and the shared network of every device, and the accuracy lost by
sharing.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from core.files import write_bytes
from devices.fleet.joint import Joint
from models.space.limits import UNITS

COLUMNS = 4
"""Panels in a row."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


@dataclass(frozen=True)
class FleetResult:
    """Networks shared by devices."""

    joint: Joint

    def write(self, out: Path, choices: Path) -> None:
        """Write the fleet to the folder `out`, and one choice per device to `choices`."""
        self.joint.record().write(out)
        write_bytes(out / "fleet.png", fleet_png(self.joint))
        for number, member in enumerate(self.joint.members):
            self.joint.choice(number).write(choices / f"{member.name}.json")


def fleet_png(joint: Joint) -> bytes:
    """Draw the fleet; the same fleet gives the same bytes."""
    count = len(joint.members) + 1
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    # No pyplot: it keeps global state and looks for a display.
    figure = Figure(figsize=(4.2 * columns, 3.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for device, axes in enumerate(panels[: len(joint.members)]):
        _front(axes, joint, device)
    _price(panels[len(joint.members)], joint)
    for axes in panels[count:]:
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def _front(axes: Axes, joint: Joint, device: int) -> None:
    """All networks by cost and accuracy, the Pareto front, the device's own and shared network."""
    member, x_N, y_N = joint.members[device], joint.costs(device), joint.accuracies_N
    within_N = joint.within_DN[device]
    axes.scatter(x_N[~within_N], y_N[~within_N], s=14, color="0.8")
    axes.scatter(x_N[within_N], y_N[within_N], s=14, color="0.4")
    front = joint.front(device)
    axes.plot(x_N[front], y_N[front], color="0.6", linewidth=1, zorder=0)
    if member.budget is not None:
        axes.axvline(member.budget, color="crimson", linestyle="--", linewidth=1)
        # Reduced by the search's margin, which determines the grey points.
        axes.axvline(member.limits[0].budget, color="crimson", linestyle=":", linewidth=1)
    own = joint.networks.index(joint.own[device])
    axes.scatter(x_N[own], y_N[own], s=110, facecolor="none", edgecolor="0.2", label="its own")
    shared = joint.shared.of_device[device]
    number = joint.shared.networks.index(shared)
    colour, label = _COLOURS[number % len(_COLOURS)], f"network {number + 1}"
    axes.scatter(x_N[shared], y_N[shared], s=60, marker="*", color=colour, zorder=3, label=label)
    axes.set(xlabel=UNITS[member.axis], ylabel="validation accuracy", title=member.name)
    axes.legend(fontsize=8, loc="lower right")


def _price(axes: Axes, joint: Joint) -> None:
    """Minimum of the largest accuracy loss of any device, by number of networks."""
    prices = joint.prices
    axes.plot(list(prices), [100 * lost for lost in prices.values()], marker="o", color="0.2")
    axes.axhline(100 * joint.most_lost, color="crimson", linestyle="--", linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(
        xlabel="different networks",
        ylabel="points lost by the worst-off device",
        title="price of sharing",
    )
    axes.set_ylim(bottom=0)
