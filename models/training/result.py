"""The train stage's output: a trained network, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.artifact import TRAIN
from core.files import rounded, write_bytes, write_json
from models.nets.equivalence import EquivalenceCheck
from models.nets.subnet import Subnet
from models.nets.weights import to_bytes
from models.space.architecture import SCHEMA
from models.space.costs import flops, parameters
from models.training.history import History
from models.training.learning import Images


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network.

    Attributes:
        accuracy: top-1 by split.
        check: equivalence check of its slice against the supernet, before the training.
    """

    network: Subnet
    accuracy: Mapping[str, float]
    check: EquivalenceCheck
    epochs: float
    history: History

    @classmethod
    def of(
        cls, network: Subnet, data: Images, check: EquivalenceCheck, epochs: float, history: History
    ) -> TrainedNetwork:
        """Evaluate a trained network on validation and test images."""
        accuracy = {split: data.accuracy(network, split) for split in ("val", "test")}
        return cls(network, accuracy, check, epochs, history)

    def write(self, out: Path) -> None:
        """Write weights, architecture, `train.json` and `history.json`."""
        write_bytes(out / "model.safetensors", to_bytes(self.network))
        write_json(out / "architecture.json", SCHEMA, self.network.architecture.to_json())
        write_json(out / "train.json", TRAIN, self.to_json())
        self.history.write(out)

    def to_json(self) -> dict[str, Any]:
        """The content of `train.json`."""
        architecture = self.network.architecture
        return {
            "architecture_id": architecture.id,
            "short": architecture.short(),
            "accuracy": {split: rounded(share) for split, share in self.accuracy.items()},
            "slice": self.check.to_json(),
            "epochs": self.epochs,
            "flops": flops(architecture),
            "parameters": parameters(architecture),
        }
