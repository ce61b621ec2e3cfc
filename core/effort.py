"""Lengths by effort: what `effort: standard` and `effort: thorough` change, in one table.

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
