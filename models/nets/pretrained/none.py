"""Random initial weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from models.nets.pretrained.base import Start


class RandomStart(Start):
    """Random initial weights."""

    name: Literal["none"] = "none"

    def read(self, file: Path) -> None:
        """No weights."""
