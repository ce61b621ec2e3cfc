"""Interface of the sources from which a supernet can start."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from core.settings import Named
from models.nets.pretrained.weights import Weights


class Start(Named):
    """Where a supernet's initial weights come from, with the settings of that source."""

    @abstractmethod
    def read(self, file: Path) -> Weights | None:
        """Read the weights; None: random ones.

        Args:
            file: `supernet.file`, of the user.

        Raises:
            UserError: they are missing, corrupt, or of another network; the message has the fix.
        """
