"""Defaults that depend on other keys: lengths by `effort`, and the recipe of a pretrained start.

`effort: demo` is every section's defaults: a run of minutes on a few cores, as measured in
`docs/results`. Sections and keys are those of `params.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Effort = Literal["demo", "standard", "thorough"]

LENGTHS: Mapping[Effort, Mapping[str, Mapping[str, Any]]] = {
    "demo": {},
    "standard": {
        "supernet": {"epochs": 4.0, "min_steps": 1500},
        "teacher": {"epochs": 12.0, "min_steps": 1500},
        "profile": {"networks": 60},
        "search": {"steps": 120, "candidates": 16},
        "race": {
            "candidates": 8,
            "from_search": 2,
            "guided": 2,
            "finalists": 2,
            "repeats": 2,
            "finish_controls": False,
        },
        "train": {"epochs": 20.0, "min_steps": 3000},
        "quantize": {"finetune": {"epochs": 2.0, "min_steps": 200}},
    },
    "thorough": {
        "supernet": {"epochs": 12.0, "min_steps": 5000},
        "teacher": {"epochs": 60.0, "min_steps": 6000},
        "profile": {"networks": 120},
        "search": {"steps": 240, "candidates": 24},
        "race": {
            "candidates": 16,
            "from_search": 4,
            "guided": 8,
            "finalists": 2,
            "repeats": 4,
            "finish_controls": True,
        },
        "train": {"epochs": 60.0, "min_steps": 8000},
        "quantize": {"finetune": {"epochs": 5.0, "min_steps": 500}},
    },
}
"""By effort, section and key; `demo` has the defaults of the sections' classes."""

_ONE_CYCLE = {
    "optimizer": "adamw",
    "learning_rate": 0.002,
    "weight_decay": 0.01,
    "schedule": "linear",
    "warmup_fraction": 0.3,
}
PRETRAINED: Mapping[str, Mapping[str, Any]] = {
    "supernet": _ONE_CYCLE | {"strategy": "sandwich"},
    "teacher": _ONE_CYCLE | {"label_smoothing": 0.1},
    "train": _ONE_CYCLE | {"label_smoothing": 0.1},
}
"""By section and key, the defaults of a supernet that starts from given weights: SGD at the rate of
a training from random weights destroys them (docs/pretrained.md)."""
PRETRAINED_LENGTHS: Mapping[Effort, Mapping[str, Mapping[str, Any]]] = {
    "demo": {
        "supernet": {"min_steps": 100},
        "teacher": {"min_steps": 60},
        "train": {"min_steps": 100},
    },
    "standard": {
        "supernet": {"min_steps": 400},
        "teacher": {"min_steps": 200},
        "train": {"min_steps": 400},
    },
    "thorough": {
        "supernet": {"min_steps": 1500},
        "teacher": {"min_steps": 600},
        "train": {"min_steps": 1500},
    },
}
"""The lengths that differ from those of a start from random weights."""


def defaults(content: Mapping[str, Any], effort: Effort, section: str) -> dict[str, Any]:
    """The defaults of a section that differ from those of its class.

    They depend on the rest of `content`, that of a params file, only by whether
    `supernet.start_from` names weights. Every stage with such defaults depends on the trained
    supernet, which differs if that does: so DVC needs no further parameter.
    """
    found = dict(LENGTHS[effort].get(section, {}))
    if _starts_from_weights(content.get("supernet")):
        found |= PRETRAINED.get(section, {})
        found |= PRETRAINED_LENGTHS[effort].get(section, {})
    return found


def _starts_from_weights(supernet: Any) -> bool:
    """Whether `start_from` of the section `supernet` is another than `none`."""
    start = supernet.get("start_from") if isinstance(supernet, Mapping) else None
    name = start.get("name") if isinstance(start, Mapping) else start
    return name not in {None, "none"}
