"""Build forged bundles, inconsistent or consistent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bundles.archive import pack, read_archive
from bundles.build.sbom import serial_number
from bundles.manifest import CARD, DERIVED, MANIFEST, SBOM, reproducible_sha256, to_bytes
from bundles.read import read_bundle

Change = Callable[[dict[str, Any], dict[str, bytes]], object]
"""Modifies a manifest's content and the files in place."""


def saved(folder: Path, content: bytes) -> Path:
    path = folder / "bundle.tar.gz"
    path.write_bytes(content)
    return path


def unpack(bundle: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in read_archive(bundle).files.items():
        (folder / name).write_bytes(content)
    return folder


def files_of(bundle: Path) -> dict[str, bytes]:
    return dict(read_bundle(bundle).files)


def careless(bundle: Path, change: Change) -> bytes:
    """Edit the manifest and recompute only its digest."""
    files = files_of(bundle)
    content = json.loads(files[MANIFEST])
    change(content, files)
    del content["schema"], content["digest"]
    return pack({**files, MANIFEST: to_bytes(content)})


def hashed(bundle: Path, change: Change) -> bytes:
    """Edit, and recompute digest and file hashes."""

    def both(content: dict[str, Any], files: dict[str, bytes]) -> None:
        change(content, files)
        content["files"] = hashes_of(files)

    return careless(bundle, both)


def thorough(bundle: Path, change: Change) -> bytes:
    """Edit, and rewrite all derived fields, so that the bundle is consistent."""

    def everywhere(content: dict[str, Any], files: dict[str, bytes]) -> None:
        change(content, files)
        old, new = content["reproducible_sha256"], reproducible_sha256(content, files)
        content["reproducible_sha256"] = new
        files[CARD] = files[CARD].replace(old[:16].encode(), new[:16].encode())
        sbom = json.loads(files[SBOM])
        for part in [*sbom["components"], *sbom["components"][0]["components"]]:
            if part["type"] == "file":
                sha256 = hashlib.sha256(files[part["name"]]).hexdigest()
                part["hashes"][0]["content"] = sha256
        sbom["serialNumber"] = serial_number(sbom)
        files[SBOM] = (json.dumps(sbom, indent=2, sort_keys=True) + "\n").encode()
        content["files"] = hashes_of(files)

    return careless(bundle, everywhere)


def hashes_of(files: dict[str, bytes]) -> dict[str, str]:
    return {n: hashlib.sha256(data).hexdigest() for n, data in files.items() if n != MANIFEST}


def leaves(content: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all scalar values of nested JSON."""
    if isinstance(content, dict):
        rows = [(key, value) for key, value in content.items() if place or key not in DERIVED]
    elif isinstance(content, list):
        rows = list(enumerate(content))
    else:
        return [place]
    return [leaf for key, value in rows for leaf in leaves(value, (*place, key))]


def replace_leaf(content: Any, place: tuple[Any, ...]) -> None:
    """Replace one scalar value by another of its type."""
    *path, last = place
    for key in path:
        content = content[key]
    old = content[last]
    if isinstance(old, bool):
        content[last] = not old
    elif old is None:
        content[last] = 0.5
    elif isinstance(old, str):
        content[last] = old + "x" if len(old) != 64 else "0" * 64
    else:
        content[last] = old + 1 if isinstance(old, int) else old * 1.01 + 0.001
