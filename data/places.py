"""Places that a public data set's files can be got from."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError

Files = Mapping[str, bytes]
"""Content by file name."""

_SECONDS_FOR_A_PROGRAM = 240.0
_SECONDS_FOR_AN_ANSWER = 20.0  # of a server, before it counts as out of reach


@dataclass(frozen=True)
class Place:
    """Somewhere files can be got.

    Attributes:
        name: what people call it.
        get: gives the files; a DataError says why it cannot.
    """

    name: str
    get: Callable[[], Files]


def read_files(folder: Path, names: Sequence[str]) -> Files:
    """The files of these names.

    Raises:
        DataError: the folder or one of them is missing or unreadable.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder.")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}.")
    try:
        return {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error}).") from error


def folder_place(folder: Path, names: Sequence[str]) -> Place:
    """A folder of this machine."""
    return Place(str(folder), lambda: read_files(folder, names))


def debian_place(package: str, inside: str, names: Sequence[str]) -> Place:
    """A Debian package, downloaded and unpacked without installing it; root is not needed.

    Args:
        package: its name.
        inside: the folder the files have in it, such as `usr/share/x`.
        names: the files.
    """

    def get() -> Files:
        for program in ("apt-get", "dpkg"):
            if shutil.which(program) is None:
                raise DataError(f"there is no {program}: this is not a Debian system.")
        with tempfile.TemporaryDirectory(prefix="netwright-apt-") as folder:
            return _unpack(package, Path(folder), inside, names)

    return Place(f"Debian's package {package}", get)


def torchvision_place(dataset: str, raw: str, names: Sequence[str]) -> Place:
    """Torchvision's download.

    Args:
        dataset: the class in `torchvision.datasets`.
        raw: the folder it puts the files in.
        names: the files.
    """

    def get() -> Files:
        import torchvision.datasets

        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_SECONDS_FOR_AN_ANSWER)  # torchvision itself would wait for ever
        try:
            with tempfile.TemporaryDirectory(prefix="netwright-torchvision-") as folder:
                getattr(torchvision.datasets, dataset)(folder, download=True)
                return read_files(Path(folder, raw), names)
        except (OSError, RuntimeError) as error:
            raise DataError(f"the download failed ({_last_line(str(error))}).") from error
        finally:
            socket.setdefaulttimeout(before)

    return Place("torchvision's download", get)


def _unpack(package: str, folder: Path, inside: str, names: Sequence[str]) -> Files:
    """Download the package into `folder`, refreshing a private package list if need be."""
    download = ["apt-get", *_APT_PATIENCE, "download", package]
    try:
        _run(download, folder)
    except DataError:
        # The machine's own list may be empty, and only root may refresh that one.
        private = _private_state(folder)
        _run(["apt-get", *_APT_PATIENCE, *private, "update"], folder)
        _run([*download[:1], *private, *download[1:]], folder)
    packages = sorted(folder.glob(f"{package}_*.deb"))
    if not packages:
        raise DataError("apt-get downloaded nothing.")
    _run(["dpkg", "-x", packages[0].name, "unpacked"], folder)
    return read_files(folder / "unpacked" / inside, names)


_APT_PATIENCE = (
    "-o", f"Acquire::http::Timeout={_SECONDS_FOR_AN_ANSWER:.0f}",
    "-o", f"Acquire::https::Timeout={_SECONDS_FOR_AN_ANSWER:.0f}",
    "-o", "Acquire::Retries=1",
)  # fmt: skip


def _private_state(folder: Path) -> list[str]:
    """Options that make apt-get keep its package lists and cache under `folder`."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State": folder / "state",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": folder / "cache",
        # As root apt-get downloads as another user, who may not write here.
        "APT::Sandbox::User": "root",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _run(command: Sequence[str], folder: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        subprocess.run(
            command, cwd=folder, env=environment, check=True, timeout=_SECONDS_FOR_A_PROGRAM,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace",
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise DataError(f"{command[0]} failed: {_last_line(error.stdout)}") from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{command[0]} took more than {error.timeout:.0f} s.") from error
    except OSError as error:
        raise DataError(f"{command[0]} cannot be started ({error}).") from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
