"""Atomic file writes, and JSON files with a schema."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import UserError


class FileFormatError(UserError):
    """A file has an unexpected format; the message names the file and the rule."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without an error.

    A process killed inside the block leaves `path` as it was.

    Raises:
        OSError: it cannot be written; the error names a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if error.filename is None:  # e.g. of a full disk
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_new(path: Path, content: bytes) -> None:
    """Write a file named by the user, without overwriting an existing file.

    Raises:
        FileFormatError: it exists with different content.
    """
    if path.exists() and not (path.is_file() and path.read_bytes() == content):
        raise FileFormatError(f"{path} already exists: choose another name, or delete it first.")
    write_bytes(path, content)


def write_json(path: Path, schema: str, content: Mapping[str, Any]) -> None:
    """Write JSON values with a schema such as `netwright/release/1`; see `json_bytes`."""
    write_bytes(path, json_bytes(schema, content))


def json_bytes(schema: str, content: Mapping[str, Any]) -> bytes:
    """JSON values with their schema and sorted keys: equal content gives equal bytes.

    Raises:
        ValueError: a number is NaN or infinite; one that was not measured is None.
    """
    text = json.dumps({"schema": schema, **content}, indent=2, sort_keys=True, allow_nan=False)
    return (text + "\n").encode()


def read_json(path: Path, schema: str) -> dict[str, Any]:
    """Read a JSON file of exactly this schema.

    Raises:
        FileFormatError: the file is missing, is not JSON, or has another schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileFormatError(f"{path}: no such file; run the stage that writes it.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is not JSON: {error}") from error
    found = content.get("schema") if isinstance(content, dict) else None
    if found != schema:
        raise FileFormatError(
            f"{path} has schema {found!r}; this version reads {schema!r}. Run the stage that "
            "writes it."
        )
    return dict(content)


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as `.npy`, readable with `mmap_mode="r"`."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        # NumPy writes to a real file itself, and its error for a full disk names no file; a wrapper
        # without a file descriptor avoids that.
        np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)


def write_array_batches(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], batches: Iterable[npt.NDArray[Any]]
) -> None:
    """Write the bytes that `write_array` writes for the concatenated batches, one at a time.

    Raises:
        ValueError: the batches do not have as many rows as `shape`.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    rows = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for batch in batches:
            rows += len(batch)
            file.write(np.ascontiguousarray(batch, dtype).tobytes())
        if rows != shape[0]:
            raise ValueError(f"{path}: {rows} rows written of {shape[0]}.")


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts: Any) -> str:
    """Hash values and files: paths by their content, everything else by its JSON.

    Checkpoints contain it, so that a run resumes only with the same inputs.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = sorted(p for p in part.rglob("*") if p.is_file()) if part.is_dir() else [part]
            for file in files:
                digest.update(f"{file.relative_to(part)}:{sha256_file(file)};".encode())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode() + b";")
    return digest.hexdigest()


def rounded(value: float | None, digits: int = 6) -> float | None:
    """Round `value` for a JSON file; None if it is None or not finite."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits)
