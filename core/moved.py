"""Keys of `params.yaml` that earlier versions had, and what to write instead."""

from __future__ import annotations

import re

MOVED = {
    "bundle.signing_key": "moved to the root key signing_key.",
    **dict.fromkeys(
        [
            f"search.{key}"
            for key in (
                "learning_rate",
                "inverse_temperature",
                "start_weight",
                "samples_per_nat",
                "min_samples",
                "max_samples",
                "fixed_samples",
                "coarse_fraction",
            )
        ],
        "moved to search.algorithm: {name: ALGORITHM, KEY: VALUE}.",
    ),
    "search.evolution": "moved to search.algorithm: {name: evolution, KEY: VALUE}.",
    "search.exhaustive": "moved to search.algorithm: {name: exhaustive, KEY: VALUE}.",
    "search.annealing": "moved to search.algorithm: {name: annealing, KEY: VALUE}.",
    "search.hurricane": "moved to search.algorithm: {name: hurricane, KEY: VALUE}.",
    "search.learn_from": "removed: the search learns from each step's samples.",
    "search.stop_when_sharp": "removed: the search runs all steps.",
    "search.control_variate": "removed: always on.",
    "search.weights": "removed: the search no longer trains the supernet.",
}
"""By dotted key: the rest of the error message, one sentence. An entry also covers what was below
its key. `devices.NAME` stands for every device."""


def moved(key: str) -> str | None:
    """What became of a key that is no longer known; None if it never existed."""
    return MOVED.get(re.sub(r"^devices\.[^.]+", "devices.NAME", key))
