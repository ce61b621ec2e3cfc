"""A network that another device has already trained from the same inputs is not trained twice.

Devices that share a network train it from the same inputs to the same bytes. The first one leaves a
mark BESIDE its output (DVC watches the output itself), with the fingerprint of the inputs and the
hashes of the files; another one with the same fingerprint copies them. While one is at work, the
others with its fingerprint wait for it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stages.common.files import atomic_path, sha256_file, write_bytes

_SOON = 0.1
"""Seconds after which a stage says that it waits for another one."""


def leave_mark(output: Path, inputs: str) -> None:
    """Say of what inputs a finished output was made.

    Args:
        output: the stage's output folder, complete.
        inputs: fingerprint of everything it depends on.
    """
    # What a killed run left half-written is hidden.
    whole = [file for file in sorted(output.iterdir()) if not file.name.startswith(".")]
    files = {file.name: sha256_file(file) for file in whole}
    write_bytes(_mark(output), json.dumps({"inputs": inputs, "files": files}).encode())


def copy_twin(output: Path, inputs: str) -> Path | None:
    """Copy the output that a neighbour made of the same inputs.

    Args:
        output: the stage's own output folder; its neighbours lie beside it.
        inputs: fingerprint of everything the output depends on.

    Returns:
        The neighbour's folder; None where no neighbour has it, whole and unchanged.
    """
    for mark in sorted(output.parent.glob(".*.inputs")):
        twin = mark.with_name(mark.name.removeprefix(".").removesuffix(".inputs"))
        files = _files(mark, inputs)
        if twin == output or not files or not all(_is(twin / n, h) for n, h in files.items()):
            continue
        for name in files:
            with atomic_path(output / name) as temporary:
                shutil.copyfile(twin / name, temporary)
        return twin
    return None


@contextmanager
def one_at_a_time(output: Path, inputs: str) -> Iterator[None]:
    """Hold the only right to make an output of these inputs; a killed holder loses it.

    Args:
        output: the stage's output folder.
        inputs: fingerprint of everything it depends on.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output.with_name(f".{inputs[:16]}.lock"))
    try:
        lock.acquire(timeout=_SOON)
    except Timeout:
        print("another device trains this very network: waiting for it.", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        # Whoever still waits holds the old file, and would at worst do the same work once more.
        Path(lock.lock_file).unlink(missing_ok=True)


def _mark(output: Path) -> Path:
    return output.with_name(f".{output.name}.inputs")


def _files(mark: Path, inputs: str) -> dict[str, str]:
    """The files of a mark, by name with their hashes; empty if it is of other inputs."""
    content: dict[str, Any] = json.loads(mark.read_text(encoding="utf-8"))
    return content["files"] if content["inputs"] == inputs else {}


def _is(file: Path, sha256: str) -> bool:
    return file.is_file() and sha256_file(file) == sha256
