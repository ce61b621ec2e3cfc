"""A supernet of an earlier release, for the same or another space."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from core.errors import UserError
from data.dataset import DatasetInfo
from models.nets.pretrained.base import Start
from models.nets.pretrained.file import read_state
from models.nets.pretrained.weights import Weights, by_place, places
from models.nets.supernet import PRETRAINED, SUPERNET_FILE, Supernet
from models.nets.weights import read_note
from models.space.space import SearchSpace

_PLACES, _MEAN, _STD = "places", "mean", "std"


def note_of(supernet: Supernet, space: SearchSpace, info: DatasetInfo) -> dict[str, Any]:
    """The note in a supernet's file: what other spaces and data sets need to start from it."""
    return {
        PRETRAINED: supernet.pretrained,
        _PLACES: list(places(space)),
        _MEAN: list(info.mean),
        _STD: list(info.std),
    }


class SupernetFile(Start):
    """The supernet of an earlier release, `supernet.file`."""

    name: Literal["supernet"] = "supernet"

    def read(self, file: Path) -> Weights:
        """Read the file, or the one in the folder."""
        found = file / SUPERNET_FILE if file.is_dir() else file
        if not found.is_file():
            raise UserError(
                f"supernet.file: {found} does not exist. Copy the {SUPERNET_FILE} of an earlier "
                f"run there, or set supernet.start_from to none."
            )
        note = read_note(found)
        if missing := [key for key in (_PLACES, _MEAN, _STD) if key not in note]:
            raise UserError(
                f"supernet.file: {found} is no supernet of this version: it has no note of its "
                f"{', '.join(missing)}. Use a {SUPERNET_FILE} that the stage supernet wrote."
            )
        named = by_place(read_state(found), tuple(note[_PLACES]))
        return Weights(str(file), named, tuple(note[_MEAN]), tuple(note[_STD]))
