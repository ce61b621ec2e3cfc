"""The networks that a race trained to the end: `networks/ID.safetensors` and `networks/ID.json`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from core.errors import UserError
from core.files import write_bytes
from models.nets.subnet import Subnet
from models.nets.weights import load_into
from models.space.architecture import Architecture
from models.training.history import History

FOLDER = "networks"
"""In the race's output."""


def write_network(
    folder: Path, architecture: Architecture, weights: bytes, history: History
) -> None:
    """Write a trained network: its weights as safetensors, and the steps of its training."""
    write_bytes(weights_file(folder, architecture.id), weights)
    history.write(folder / f"{architecture.id}.json")


@dataclass(frozen=True)
class RacedWeights:
    """A network in that folder."""

    folder: Path
    architecture: Architecture

    @cached_property
    def network(self) -> Subnet:
        """The trained network, in evaluation mode.

        Raises:
            UserError: the race has not trained it to the end, or the file is damaged.
        """
        file = weights_file(self.folder, self.architecture.id)
        if not file.is_file():
            raise UserError(
                f"{self.folder} lacks network {self.architecture.id}: the race has not trained it "
                "to the end. Run the stage race again."
            )
        network = Subnet(self.architecture)
        load_into(network, file)
        return network.eval()

    @property
    def history(self) -> History:
        """The recorded steps of its training."""
        return History.read(self.folder / f"{self.architecture.id}.json")


def weights_file(folder: Path, architecture_id: str) -> Path:
    """The file of a network's weights."""
    return folder / f"{architecture_id}.safetensors"
