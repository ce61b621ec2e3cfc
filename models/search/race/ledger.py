"""`ledger.json`: every network that was trained, with its evaluations.

An entry is an ANSWER only for the same data, recipe, seed and steps. Entries of other data or of
another recipe inform the proposals of new networks, but never decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from core.artifact import Artifact, Record
from core.files import FileFormatError
from models.search.race.networks import FOLDER, weights_file
from models.search.race.training import Standing
from models.space.architecture import Architecture, ArchitectureJson


class Recipe(Record):
    """Identifies what a training depends on, besides its network and seed."""

    data: str
    """Fingerprint of the prepared data set."""
    training: str
    """Fingerprint of recipe, supernet, teacher and code."""
    steps: int
    """Of the whole training."""


class Entry(Record):
    """One training, with its evaluation at every rung that it reached."""

    architecture: ArchitectureJson
    architecture_id: str
    repeat: int
    """0, or the number of a repeat with another seed."""
    recipe: Recipe
    standings: tuple[Standing, ...] = Field(min_length=1)
    reused: bool
    """Whether an earlier ledger had it."""

    @property
    def key(self) -> tuple[str, int]:
        """The network and its seed."""
        return self.architecture_id, self.repeat


class Ledger(Artifact):
    """The trainings of a fleet, and each device's winner."""

    SCHEMA: ClassVar[str] = "netwright/ledger/1"
    FILE: ClassVar[str] = "ledger.json"

    recipe: Recipe
    """Of this race."""
    entries: tuple[Entry, ...]
    winners: dict[str, str]
    """The architecture id by device."""

    def of(self, recipe: Recipe) -> dict[tuple[str, int], Entry]:
        """The entries that are answers for this recipe."""
        return {entry.key: entry for entry in self.entries if entry.recipe == recipe}

    def winning(self) -> dict[str, Architecture]:
        """Every device's winner."""
        networks = {entry.architecture_id: entry.architecture for entry in self.entries}
        return {name: networks[found] for name, found in self.winners.items() if found in networks}

    def describe_use(self, recipe: Recipe) -> str:
        """What an earlier ledger is good for, in one sentence."""
        same = len(self.of(recipe))
        others = len(self.entries) - same
        parts = [f"{same} trainings are reused"] if same else []
        if others:
            data = sum(entry.recipe.data != recipe.data for entry in self.entries)
            what = [f"{data} on other data"] if data else []
            what += [f"{others - data} with another recipe"] if others - data else []
            parts.append(f"{' and '.join(what)} are no answers, and only inform proposals")
        return f"race.ledger: of {len(self.entries)} trainings, {'; '.join(parts) or 'none'}."


def read_ledger(path: Path) -> Ledger | None:
    """Read an earlier ledger, or the one in a folder; None if the folder is empty.

    Raises:
        FileFormatError: it is missing or malformed.
    """
    if not path.exists():
        raise FileFormatError(
            f"race.ledger: {path} does not exist. Set it to a saved {Ledger.FILE}, or to "
            "models/inputs/ledger to begin without one."
        )
    if path.is_dir() and not (path / Ledger.FILE).exists():
        if any(not file.name.startswith(".") for file in path.iterdir()):
            raise FileFormatError(
                f"{path} has files, but no {Ledger.FILE}: name the file, or an empty folder."
            )
        return None
    if path.is_file() and path.suffix != ".json":
        raise FileFormatError(f"race.ledger: {path} is not a `.json` file; name a {Ledger.FILE}.")
    return Ledger.read(path)


def merge(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """One entry per training, sorted, with all its evaluations; later ones replace earlier ones."""
    known: dict[tuple[str, int, str], Entry] = {}
    for entry in entries:
        key = (*entry.key, entry.recipe.model_dump_json())
        before = known.get(key, entry)
        rungs = {one.steps: one for one in (*before.standings, *entry.standings)}
        changes = {
            "standings": tuple(rungs[steps] for steps in sorted(rungs)),
            "reused": before.reused or entry.reused,
        }
        known[key] = entry.model_copy(update=changes)
    return tuple(known[key] for key in sorted(known))


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
            if weights_file(folder / FOLDER, name).is_file()
        }
        return cls(ledger, finished)

    @property
    def identity(self) -> dict[str, Any]:
        """What a selection depends on."""
        return {"ledger": self.ledger.to_json(), "finished": sorted(self.finished)}
