"""Python packages that a bundle needs on its device, as installed on this machine."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_LONGEST_NAME = 100
"""Some packages put the whole licence text into the name field."""


@dataclass(frozen=True)
class Package:
    """One distribution.

    Attributes:
        version: None if it is not installed.
        expression: licence as an SPDX expression, if stated.
        licence: otherwise the licence as free text, if stated.
        requires: names of required packages.
    """

    name: str
    version: str | None
    expression: str | None
    licence: str | None
    requires: tuple[str, ...]


def closure(roots: Iterable[str]) -> list[Package]:
    """Return distributions, or those of modules, with their transitive dependencies here."""
    found: dict[str, Package] = {}
    pending = [_distribution(root) for root in roots]
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = _package(name)
            pending.extend(found[name].requires)
    return [found[name] for name in sorted(found)]


def _distribution(root: str) -> str:
    """Return the distribution of this name, or else the one that provides this module."""
    try:
        importlib.metadata.distribution(root)
    except importlib.metadata.PackageNotFoundError:
        holders = importlib.metadata.packages_distributions().get(root, [root])
        return canonicalize_name(sorted(holders)[0])
    return canonicalize_name(root)


def _package(name: str) -> Package:
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return Package(name, None, None, None, ())
    needed = [Requirement(text) for text in found.requires or ()]
    # An empty `extra` excludes optional dependencies.
    here = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    names = tuple(sorted({canonicalize_name(requirement.name) for requirement in here}))
    return Package(name, found.version, *_licence(found.metadata), names)


def _licence(metadata: importlib.metadata.PackageMetadata) -> tuple[str | None, str | None]:
    """Return the licence as an SPDX expression, or else as text."""
    if expressions := metadata.get_all("License-Expression"):
        return expressions[0], None
    stated = metadata.get_all("License") or []
    short = [text for text in stated if 0 < len(text) <= _LONGEST_NAME and "\n" not in text]
    classifiers = [line.split(" :: ") for line in metadata.get_all("Classifier") or []]
    short += [parts[-1] for parts in classifiers if parts[0] == "License"]
    return None, short[0] if short else None
