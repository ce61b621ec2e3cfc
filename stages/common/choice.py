"""The network that a device gets, and why: what stands between the ranking and the training.

The stage `rank` leaves one file a device, with the device's own best; the stage `fleet` another,
with a network that several devices may share. Which of them is trained is `fleet.share`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.architecture import Architecture
from stages.common.files import read_json, rounded, write_json
from stages.common.schemas import CHOICE


@dataclass(frozen=True)
class Choice:
    """A device's network.

    Attributes:
        architecture: the network.
        reason: why this one, as the end of a sentence that begins with the network.
        supernet_accuracy: of its slice on validation images; None where nobody looked.
    """

    architecture: Architecture
    reason: str
    supernet_accuracy: float | None

    @classmethod
    def read(cls, file: Path) -> Choice:
        """Read what `write` wrote.

        Raises:
            FileFormatError: the file is missing or of another kind.
            ArchitectureError: its architecture is malformed.
        """
        content = read_json(file, CHOICE)
        architecture = Architecture.from_json(content["architecture"])
        return cls(architecture, content["reason"], content["supernet_accuracy"])

    def write(self, file: Path) -> None:
        """Write the choice, whole or not at all."""
        content = {
            "architecture": self.architecture.to_json(),
            "architecture_id": self.architecture.id,
            "reason": self.reason,
            "supernet_accuracy": rounded(self.supernet_accuracy),
        }
        write_json(file, CHOICE, content)
