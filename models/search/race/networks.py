"""The networks that a race trained to the end: `networks/ID.safetensors` and `networks/ID.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.files import write_bytes
from models.nets.subnet import Subnet
from models.nets.weights import load_into
from models.search.race.ledger import Entry, Ledger
from models.space.architecture import Architecture
from models.training.history import History

FOLDER = "networks"
"""In the race's output."""


def write_network(
    folder: Path, architecture: Architecture, weights: bytes, history: History
) -> None:
    """Write a trained network: its weights as safetensors, and the steps of its training."""
    write_bytes(_weights(folder, architecture.id), weights)
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
        file = _weights(self.folder, self.architecture.id)
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


@dataclass(frozen=True)
class RacedNetworks:
    """The race's output folder, as input of the stages that select among its networks.

    Attributes:
        ledger: of the race.
        finished: this race's networks that were trained to the end and whose weights are in the
            folder, by architecture id. The ledger may have others: an earlier race's weights are
            not kept.
    """

    ledger: Ledger
    finished: Mapping[str, Entry]

    @classmethod
    def read(cls, folder: Path) -> RacedNetworks:
        """Read the ledger, and which weights there are.

        Raises:
            FileFormatError: the ledger is missing or malformed.
        """
        ledger = Ledger.read(folder)
        finished = {
            name: entry
            for (name, repeat), entry in ledger.of(ledger.recipe).items()
            if repeat == 0 and entry.standings[-1].steps == ledger.recipe.steps
            if _weights(folder / FOLDER, name).is_file()
        }
        return cls(ledger, finished)

    @property
    def identity(self) -> dict[str, Any]:
        """What a selection depends on."""
        return {"ledger": self.ledger.to_json(), "finished": sorted(self.finished)}


def _weights(folder: Path, architecture_id: str) -> Path:
    return folder / f"{architecture_id}.safetensors"
