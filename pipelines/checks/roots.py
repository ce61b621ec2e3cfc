"""The root keys of `params.yaml`, without the imports that its sections need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from core.settings import Roots, bind
from pipelines.graph import PARAMS
from pipelines.repair import read_mapping


class RootParams(Roots):
    """The root keys, with those that no stage reads."""

    signing_key: str | None = Field(None, min_length=1)
    """PEM file of an elliptic-curve private key, relative to the repository root, with which
    `netwright run` signs bundles that passed the gate; null: no signatures."""


def bind_roots(content: Mapping[str, Any]) -> RootParams:
    """The root keys of the params' content.

    Raises:
        ParamsError: one has an invalid value.
    """
    known = {name: content[name] for name in RootParams.model_fields if name in content}
    return bind(known, "", RootParams)


def read_roots(root: Path) -> RootParams:
    """The root keys of the repository's params file.

    Raises:
        ParamsError: one has an invalid value.
    """
    return bind_roots(read_mapping(root / PARAMS))
