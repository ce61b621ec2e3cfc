"""One panel of the release plot: accuracy of devices over one cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform

from bundles.picture.labels import Pixels, Positions, along, around, settle

MILLION = 1e6
MARKERS = {"float32": "o", "float16": "s", "int8": "D"}
Summary = Mapping[str, Any]
_DELIVERED, _OTHER = 9, 6
"""Marker sizes in points."""
_SHARED = "#606060"
_LEADER = 16.0
"""Distance in pixels from which a label has a leader line to its marker."""
_MARGIN = 2.0
"""Margin around a label in pixels."""


@dataclass(frozen=True)
class Panel:
    """Accuracy of devices over one cost.

    Attributes:
        figure: figure of the panel.
        axes: axes to draw on.
        group: summaries by device.
        colours: colours by device.
        over_time: whether the cost is measured milliseconds; else million FLOPs.
    """

    figure: Figure
    axes: Axes
    group: Mapping[str, Summary]
    colours: Mapping[str, str]
    over_time: bool

    def place(self, summary: Summary) -> tuple[float, float]:
        """Return the data coordinates of a delivered model."""
        accuracy = float(summary["accuracy"]["delivered"])
        if self.over_time:
            return float(summary["latency_ms"]["measured"]), accuracy
        return summary["costs"]["flops"] / MILLION, accuracy

    def others(self, summary: Summary) -> list[Summary]:
        """Return the measured candidates that were not delivered.

        Those of the delivered precision are omitted, as they would overlap it.
        """
        return [
            row
            for row in summary["candidates"]
            if self.over_time
            and row["precision"] != summary["precision"]
            and row["latency_ms"] is not None
        ]

    def budgets(self) -> dict[float, list[str]]:
        """Return the devices by budget, in ascending order."""
        found: dict[float, list[str]] = {}
        for name, summary in self.group.items():
            limit = summary["budget"]["latency_ms" if self.over_time else "flops"]
            if limit is not None:
                found.setdefault(limit if self.over_time else limit / MILLION, []).append(name)
        return dict(sorted(found.items()))

    def draw(self) -> None:
        """Draw everything except the labels, markers on top."""
        for name, summary in self.group.items():
            here, colour = self.place(summary), self.colours[name]
            for row in self.others(summary):
                there = row["latency_ms"], row["accuracy"]
                self.axes.plot(*zip(here, there, strict=True), color=colour, lw=0.8, alpha=0.5)
                mark = self.axes.plot(*there, MARKERS[row["precision"]], color=colour, zorder=5)[0]
                mark.set(markerfacecolor="white", markersize=_OTHER)
            marker = MARKERS[summary["precision"]]
            self.axes.plot(*here, marker, color=colour, markersize=_DELIVERED, zorder=6)
        for limit, names in self.budgets().items():
            self.axes.axvline(limit, color=self._colour(names), linestyle="--", linewidth=1.2)
        self.axes.set_xlabel(
            "measured latency, ms per image"
            if self.over_time
            else "million FLOPs (latency not measured)"
        )
        self.axes.set_xlim(left=0)
        self.axes.set_xlim(right=self.axes.get_xlim()[1] * 1.12)

    def label(self) -> list[Text]:
        """Draw and return the labels of budgets and devices, without overlaps.

        The layout must be final, because positions are pixels.
        """
        x0, y0, x1, y1 = self.axes.bbox.extents
        notes: list[Text] = []
        positions: list[Positions] = []
        for limit, names in self.budgets().items():
            text = self._budget_label(limit, names)
            notes.append(self._note(text, self._colour(names), rotation=90))
            positions.append(along(self._pixels(limit, 0)[0], y0, y1, *self._size(notes[-1])))
        marks = {name: self._pixels(*self.place(one)) for name, one in self.group.items()}
        for name, summary in self.group.items():
            held = "" if summary["passed"] else "\nheld back"
            words = f"{name}\n{summary['accuracy']['delivered']:.3f}{held}"
            notes.append(self._note(words, self.colours[name]))
            positions.append(around(*marks[name], *self._size(notes[-1])))
        chosen = settle(positions, self._marks(), np.array([x0, y0, x1, y1]))
        boxes = [where.boxes_P4[at] for where, at in zip(positions, chosen, strict=True)]
        for note, box_4 in zip(notes, boxes, strict=True):
            note.set_position((float(box_4[::2].mean()), float(box_4[1::2].mean())))
        for name, box_4 in zip(self.group, boxes[len(boxes) - len(self.group) :], strict=True):
            self._tie(marks[name], box_4, self.colours[name])
        return notes

    def _colour(self, names: Sequence[str]) -> str:
        """Return a budget's colour: its device's, or grey if several share it."""
        return self.colours[names[0]] if len(names) == 1 else _SHARED

    def _budget_label(self, limit: float, names: Sequence[str]) -> str:
        """Return a budget's label, with the device if the colour is ambiguous."""
        if len(names) > 1:
            return f"budget {limit:.3g}, {len(names)} devices"
        colours = list(self.colours.values())
        alone = colours.count(self.colours[names[0]]) == 1
        return f"budget {limit:.3g}" if alone else f"budget {limit:.3g}, {names[0]}"

    def _note(self, words: str, colour: str, rotation: float = 0) -> Text:
        """Create a label, not yet placed."""
        return self.axes.text(
            0,
            0,
            words,
            transform=IdentityTransform(),
            ha="center",
            va="center",
            rotation=rotation,
            fontsize=8,
            color=colour,
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )

    def _tie(self, mark: tuple[float, float], box_4: Pixels, colour: str) -> None:
        """Draw a leader line from a marker to its label if they are far apart."""
        near = np.clip(mark, box_4[:2], box_4[2:])
        if np.hypot(*(near - mark)) > _LEADER:
            ends = zip(mark, near.tolist(), strict=True)
            self.axes.plot(*ends, transform=IdentityTransform(), color=colour, lw=0.8, zorder=3.5)

    def _pixels(self, x: float, y: float) -> tuple[float, float]:
        left, bottom = self.axes.transData.transform((x, y))
        return float(left), float(bottom)

    def _marks(self) -> Pixels:
        """Return boxes to keep visible, in pixels: markers and budget lines."""
        boxes = []
        for summary in self.group.values():
            others = [(row["latency_ms"], row["accuracy"]) for row in self.others(summary)]
            sizes = [_DELIVERED, *[_OTHER] * len(others)]
            for place, size in zip([self.place(summary), *others], sizes, strict=True):
                x, y = self._pixels(*place)
                half = size * self.figure.dpi / 72 / 2
                boxes.append([x - half, y - half, x + half, y + half])
        for limit in self.budgets():
            x = self._pixels(limit, 0)[0]
            boxes.append([x - 0.5, self.axes.bbox.y0, x + 0.5, self.axes.bbox.y1])
        return np.array(boxes)

    def _size(self, note: Text) -> tuple[float, float]:
        """Return width and height of a label with its margin, in pixels."""
        box = note.get_window_extent(FigureCanvasAgg(self.figure).get_renderer())  # type: ignore[no-untyped-call]
        return box.width + 2 * _MARGIN, box.height + 2 * _MARGIN
