"""The supernet stage's output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.files import write_bytes
from models.nets.supernet import SUPERNET_FILE, Supernet
from models.nets.weights import to_bytes
from models.training.history import SupernetHistory


@dataclass(frozen=True)
class TrainedSupernet:
    """A trained supernet and its history."""

    supernet: Supernet
    history: SupernetHistory

    def write(self, out: Path) -> None:
        """Write the weights and `history.json`."""
        write_bytes(out / SUPERNET_FILE, to_bytes(self.supernet))
        self.history.write(out)
