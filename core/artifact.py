"""Typed content of the JSON files that stages exchange."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, PlainSerializer, ValidationError

from core.files import FileFormatError, read_json, rounded, write_json
from core.settings import Params

Rounded = Annotated[float | None, PlainSerializer(rounded)]
"""A number that is rounded in a file; None if it was not measured."""


class Record(BaseModel):
    """Values of a JSON object: immutable, strictly typed, without unknown keys or NaN."""

    model_config = ConfigDict(**Params.model_config, populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values under the file's keys."""
        return self.model_dump(mode="json", by_alias=True)


class Artifact(Record):
    """A whole JSON file with a schema."""

    SCHEMA: ClassVar[str]
    FILE: ClassVar[str]
    """Its name in the output folder of the stage that writes it."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the `.json` file, or that in the folder `path`.

        Raises:
            FileFormatError: it is missing, or its content is not of this type.
        """
        file = path if path.suffix == ".json" else path / cls.FILE
        content = read_json(file, cls.SCHEMA)
        del content["schema"]
        try:
            return cls.model_validate_json(json.dumps(content))
        except ValidationError as error:
            raise FileFormatError(
                f"{file} is malformed {first_problem(error)}. Run the stage that writes it."
            ) from error

    def write(self, out: Path) -> None:
        """Write the `.json` file, or that in the folder `out`, atomically."""
        file = out if out.suffix == ".json" else out / self.FILE
        write_json(file, self.SCHEMA, self.to_json())


def first_problem(error: ValidationError) -> str:
    """Where the first invalid value is, and what is wrong: `at 'key': message`."""
    first = error.errors()[0]
    return f"at '{'.'.join(map(str, first['loc']))}': {first['msg']}"
