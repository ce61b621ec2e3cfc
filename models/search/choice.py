"""The network selected for a device, and the reason: output of ranking, input of training.

The stage `race` writes one file per device with its own network; the stage `fleet` writes one with
a network that several devices may share. `fleet.share` selects which of them is trained.
"""

from __future__ import annotations

from typing import Any, ClassVar

from core.artifact import Artifact, Rounded
from models.space.architecture import Architecture, ArchitectureJson


class Choice(Artifact):
    """The network selected for a device."""

    SCHEMA: ClassVar[str] = "netwright/choice/1"
    FILE: ClassVar[str] = "choice.json"

    architecture: ArchitectureJson
    architecture_id: str
    reason: str
    """Why it was selected, as the end of a sentence that begins with the network."""
    supernet_accuracy: Rounded
    """Of its slice on validation images; None if not evaluated."""

    @classmethod
    def of(cls, architecture: Architecture, reason: str, accuracy: float | None) -> Choice:
        """The choice of a network, with its supernet accuracy."""
        return cls(
            architecture=architecture,
            architecture_id=architecture.id,
            reason=reason,
            supernet_accuracy=accuracy,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What a training depends on: the network, not the reason."""
        return self.architecture.to_json()
