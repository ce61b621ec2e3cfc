"""An architecture as a field of typed JSON."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from models.space.architecture import Architecture


def _parse(value: Any) -> Architecture:
    return value if isinstance(value, Architecture) else Architecture.from_json(value)


ArchitectureJson = Annotated[
    Architecture, PlainValidator(_parse), PlainSerializer(Architecture.to_json)
]
