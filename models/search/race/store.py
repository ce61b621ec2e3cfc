"""Training states of a race, beside its output: a killed race resumes, a later one continues.

DVC does not track the store. Every file is written atomically and has a name by recipe, network
and seed, so that whatever is found is an answer for exactly these.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from core.artifact import Artifact
from core.files import write_bytes
from models.search.race.training import Finished, Job, Standing
from models.space.architecture import Architecture
from models.training.history import History


class Rung(Standing, Artifact):
    """A standing on disk; the last file of a finished rung to be written."""

    SCHEMA = "netwright/rung/1"
    FILE = "rung.json"


@dataclass(frozen=True)
class Store:
    """States of one recipe's trainings.

    Attributes:
        root: of all recipes.
        recipe: the folder's name.
    """

    root: Path
    recipe: str

    def folder(self, architecture: Architecture, repeat: int) -> Path:
        """The files of one training."""
        return self.root / self.recipe / f"{architecture.id}-{repeat}"

    def standing(self, architecture: Architecture, repeat: int, steps: int) -> Standing | None:
        """The evaluation after some steps; None if it was not trained so far."""
        file = self.folder(architecture, repeat) / f"{steps}.json"
        if not file.is_file():
            return None
        return Standing(**Rung.read(file).model_dump())

    def job(self, architecture: Architecture, repeat: int, until: int) -> Job:
        """The job that continues a training from its last finished rung."""
        folder = self.folder(architecture, repeat)
        done = [int(file.stem) for file in folder.glob("*.json") if file.stem.isdigit()]
        states = [s for s in done if s < until and (folder / f"{s}.pt").is_file()]
        begin = max(states, default=0)
        state = (folder / f"{begin}.pt").read_bytes() if begin else None
        return Job(architecture, repeat, until, begin, state, folder / "checkpoint.pt")

    def add(self, job: Job, finished: Finished) -> None:
        """Keep a finished rung."""
        folder, steps = self.folder(job.architecture, job.repeat), finished.standing.steps
        write_bytes(folder / f"{steps}.pt", finished.state)
        write_bytes(folder / f"{steps}.safetensors", finished.weights)
        finished.history.write(folder / f"history-{steps}.json")
        Rung(**finished.standing.model_dump()).write(folder / f"{steps}.json")
        for old in [folder / "checkpoint.pt", *folder.glob("[0-9]*.pt")]:
            if old.name != f"{steps}.pt":  # the next rung continues from this one
                old.unlink(missing_ok=True)

    def weights(self, architecture: Architecture, steps: int) -> bytes:
        """The evaluated network of a finished rung, as safetensors."""
        return (self.folder(architecture, 0) / f"{steps}.safetensors").read_bytes()

    def history(self, architecture: Architecture, steps: int) -> History:
        """The recorded steps of its training."""
        return History.read(self.folder(architecture, 0) / f"history-{steps}.json")

    def prune(self) -> None:
        """Remove the states of other recipes: nothing can continue them."""
        for folder in self.root.iterdir():
            if folder.name != self.recipe:
                shutil.rmtree(folder, ignore_errors=True)
