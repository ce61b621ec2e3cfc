"""Keys of `params.yaml` that earlier versions had, and what to write instead."""

from __future__ import annotations

import re

MOVED = {
    "bundle.signing_key": "moved to the root key signing_key.",
}
"""By dotted key: the rest of the error message, one sentence. An entry also covers what was below
its key. `devices.NAME` stands for every device."""


def moved(key: str) -> str | None:
    """What became of a key that is no longer known; None if it never existed."""
    return MOVED.get(re.sub(r"^devices\.[^.]+", "devices.NAME", key))
