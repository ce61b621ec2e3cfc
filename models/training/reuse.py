"""Deduplicated training runs: a network is not trained again from the same inputs.

Devices that share a network train it from the same inputs to the same bytes. The first run writes a
record BESIDE its output (DVC tracks the output itself) with the fingerprint of the inputs and the
hashes of the files; later runs with the same fingerprint copy the files. Concurrent runs with the
same fingerprint wait for the first.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from core.distributed import Processes
from core.files import atomic_path, sha256_file, write_bytes

_SOON = 0.1
"""Seconds after which a stage reports that it is waiting."""


class Writable(Protocol):
    """A stage's result."""

    def write(self, out: Path) -> None:
        """Write its files into a folder."""


def reuse_or_train(
    output: Path, inputs: str, train: Callable[[], Writable | None], processes: Processes
) -> None:
    """Write a training's output, or copy that of another device with the same inputs.

    Args:
        output: the stage's output folder.
        inputs: fingerprint of everything the output depends on.
        train: trains; only the first process has a result.
        processes: those that share every batch; each calls this.
    """
    # Not with several processes: one might find a finished run that another one just missed.
    with nullcontext() if processes.count > 1 else lock_inputs(output, inputs):
        finished = copy_finished_run(output, inputs) if processes.count == 1 else None
        if finished is not None:
            print(f"the same training was already run for '{finished.name}': reusing its network.")
        elif (result := train()) is not None:
            result.write(output)
        if processes.first:
            record_inputs(output, inputs)


def record_inputs(output: Path, inputs: str) -> None:
    """Record the inputs of a complete output."""
    # Files left half-written by a killed run are hidden.
    complete = [file for file in sorted(output.iterdir()) if not file.name.startswith(".")]
    files = {file.name: sha256_file(file) for file in complete}
    record = output.with_name(f".{output.name}.inputs")
    write_bytes(record, json.dumps({"inputs": inputs, "files": files}).encode())


def copy_finished_run(output: Path, inputs: str) -> Path | None:
    """Copy another device's output made from the same inputs.

    Outputs of other devices are siblings of `output`. Returns the one copied; None if none is
    complete and unchanged.
    """
    for record in sorted(output.parent.glob(".*.inputs")):
        other = record.with_name(record.name.removeprefix(".").removesuffix(".inputs"))
        content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        files = content["files"]
        if other == output or content["inputs"] != inputs or not files:
            continue
        if not all(_is(other / name, sha256) for name, sha256 in files.items()):
            continue
        for name in files:
            with atomic_path(output / name) as temporary:
                shutil.copyfile(other / name, temporary)
        return other
    return None


def _is(file: Path, sha256: str) -> bool:
    return file.is_file() and sha256_file(file) == sha256


@contextmanager
def lock_inputs(output: Path, inputs: str) -> Iterator[None]:
    """Hold the lock for these inputs; it is released if its holder is killed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output.with_name(f".{inputs[:16]}.lock"))
    try:
        lock.acquire(timeout=_SOON)
    except Timeout:
        print("another device is training the same network: waiting for it.", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        # A waiting process has the old file open, and at worst repeats the same work.
        Path(lock.lock_file).unlink(missing_ok=True)
