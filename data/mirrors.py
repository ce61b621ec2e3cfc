"""Download locations of public datasets."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError

Files = Mapping[str, bytes]
"""Content by file name."""

_PROGRAM_TIMEOUT_S = 240.0
_SERVER_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Place:
    """One location of a dataset's files."""

    name: str
    get: Callable[[], Files]
    """Returns the files; raises UserError with the reason if it cannot."""


def read_files(folder: Path, names: Sequence[str]) -> Files:
    """Read files of a folder by name.

    Raises:
        UserError: the folder or a file is missing or unreadable.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {', '.join(missing)}.")
    try:
        return {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error}).") from error


def folder_place(folder: Path, names: Sequence[str]) -> Place:
    """A local folder."""
    return Place(str(folder), lambda: read_files(folder, names))


def debian_place(package: str, inside: str, names: Sequence[str]) -> Place:
    """A Debian package, downloaded and unpacked without installing it or root rights.

    Its files `names` are in the folder `inside`, such as `usr/share/x`.
    """

    def get() -> Files:
        for program in ("apt-get", "dpkg"):
            if shutil.which(program) is None:
                raise UserError(f"{program} is not installed: this is not a Debian system.")
        with tempfile.TemporaryDirectory(prefix="netwright-apt-") as folder:
            return _unpack(package, Path(folder), inside, names)

    return Place(f"Debian's package {package}", get)


def torchvision_place(dataset: str, raw: str, names: Sequence[str]) -> Place:
    """The download of a class of `torchvision.datasets`, which stores its files in `raw`."""

    def get() -> Files:
        import torchvision.datasets

        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_SERVER_TIMEOUT_S)  # torchvision sets no timeout
        try:
            with tempfile.TemporaryDirectory(prefix="netwright-torchvision-") as folder:
                getattr(torchvision.datasets, dataset)(folder, download=True)
                return read_files(Path(folder, raw), names)
        except (OSError, RuntimeError) as error:
            raise UserError(f"the download failed ({_last_line(str(error))}).") from error
        finally:
            socket.setdefaulttimeout(before)

    return Place("torchvision's download", get)


def _unpack(package: str, folder: Path, inside: str, names: Sequence[str]) -> Files:
    """Download and unpack a package; refreshes a private package list if needed."""
    download = ["apt-get", *_APT_TIMEOUTS, "download", package]
    try:
        _run(download, folder)
    except UserError:
        # The system's package list may be empty, and only root can refresh it.
        private = _private_state(folder)
        _run(["apt-get", *_APT_TIMEOUTS, *private, "update"], folder)
        _run([*download[:1], *private, *download[1:]], folder)
    packages = sorted(folder.glob(f"{package}_*.deb"))
    if not packages:
        raise UserError("apt-get downloaded nothing.")
    _run(["dpkg", "-x", packages[0].name, "unpacked"], folder)
    return read_files(folder / "unpacked" / inside, names)


_APT_TIMEOUTS = (
    "-o", f"Acquire::http::Timeout={_SERVER_TIMEOUT_S:.0f}",
    "-o", f"Acquire::https::Timeout={_SERVER_TIMEOUT_S:.0f}",
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
        # As root, apt-get downloads as another user, which cannot write to this folder.
        "APT::Sandbox::User": "root",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _run(command: Sequence[str], folder: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        subprocess.run(
            command, cwd=folder, env=environment, check=True, timeout=_PROGRAM_TIMEOUT_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace",
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise UserError(f"{command[0]} failed: {_last_line(error.stdout)}") from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise UserError(f"{command[0]} failed: {error}.") from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
