"""The network selected for a device, and the reason: output of ranking, input of training.

The stage `rank` writes one file per device with its own best network; the stage `fleet` writes one
with a network that several devices may share. `fleet.share` selects which of them is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import read_json, rounded, write_json
from models.space.architecture import Architecture

SCHEMA = "netwright/choice/1"


@dataclass(frozen=True)
class Choice:
    """The network selected for a device.

    Attributes:
        architecture: the network.
        reason: why it was selected, as the end of a sentence that begins with the network.
        supernet_accuracy: of its slice on validation images; None if not evaluated.
    """

    architecture: Architecture
    reason: str
    supernet_accuracy: float | None

    @classmethod
    def read(cls, file: Path) -> Choice:
        """Read what `write` wrote.

        Raises:
            FileFormatError: the file is missing or has another schema.
            UserError: its architecture is malformed.
        """
        content = read_json(file, SCHEMA)
        architecture = Architecture.from_json(content["architecture"])
        return cls(architecture, content["reason"], content["supernet_accuracy"])

    @property
    def identity(self) -> dict[str, Any]:
        """What a training depends on: the network, not the reason."""
        return self.architecture.to_json()

    def write(self, file: Path) -> None:
        """Write the choice atomically."""
        content = {
            "architecture": self.architecture.to_json(),
            "architecture_id": self.architecture.id,
            "reason": self.reason,
            "supernet_accuracy": rounded(self.supernet_accuracy),
        }
        write_json(file, SCHEMA, content)
