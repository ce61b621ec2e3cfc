"""The root keys of `params.yaml`, without the imports that its sections need."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from core.settings import Roots, bind_roots
from core.yaml_file import read_yaml
from pipelines.graph import PARAMS


class RootParams(Roots):
    """The root keys, with those that no stage reads."""

    signing_key: str | None = Field(None, min_length=1)
    """PEM file of an elliptic-curve private key, relative to the repository root, with which
    `netwright run` signs bundles that passed the gate; null: no signatures."""


def read_roots(root: Path) -> RootParams:
    """The root keys of the repository's params file; ParamsError if one is invalid."""
    return bind_roots(read_yaml(root / PARAMS), RootParams)
