"""The train stage's output: a trained network, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.files import write_bytes, write_json
from models.nets.equivalence import EquivalenceCheck
from models.nets.subnet import Subnet
from models.nets.weights import to_bytes
from models.space.architecture import SCHEMA
from models.space.costs import flops, parameters
from models.training.history import History
from models.training.learning import Images
from models.training.record import SplitAccuracy, TrainRecord


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network.

    Attributes:
        check: equivalence check of its slice against the supernet, before the training.
    """

    network: Subnet
    accuracy: SplitAccuracy
    check: EquivalenceCheck
    history: History

    @classmethod
    def of(
        cls, network: Subnet, data: Images, check: EquivalenceCheck, history: History
    ) -> TrainedNetwork:
        """Evaluate a trained network on validation and test images."""
        val, test = (data.accuracy(network, split) for split in ("val", "test"))
        accuracy = SplitAccuracy(val=val, test=test)
        return cls(network, accuracy, check, history)

    def write(self, out: Path) -> None:
        """Write weights, architecture, `train.json` and `history.json`."""
        write_bytes(out / "model.safetensors", to_bytes(self.network))
        write_json(out / "architecture.json", SCHEMA, self.network.architecture.to_json())
        self.record.write(out)
        self.history.write(out)

    @property
    def record(self) -> TrainRecord:
        """The content of `train.json`."""
        architecture = self.network.architecture
        return TrainRecord(
            architecture_id=architecture.id,
            short=architecture.short(),
            accuracy=self.accuracy,
            slice=self.check,
            epochs=self.history.epochs,
            flops=flops(architecture),
            parameters=parameters(architecture),
        )
