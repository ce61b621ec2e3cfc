"""What is around a Ray cluster: the package, its environment, its head, the code sent to it."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Any

from core.errors import UserError

INSTALL = "pip install 'netwright[ray]'"
ROOT = Path(__file__).resolve().parents[2]
ALLOW_NETWORK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where it is 0, Ray listens on the loopback interface only; on other systems than Linux it is by
default. Ray reads it when it is imported."""
_CONNECT_S = 5.0


def import_ray(local: bool) -> Any:
    """Import Ray, without usage statistics.

    Args:
        local: a cluster on this machine alone will be started.

    Raises:
        UserError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_COLOR_PREFIX"] = "0"  # the output may go to a file
    if local:
        os.environ[ALLOW_NETWORK] = "0"
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"executor: ray needs the package ray ({error}). Install it: {INSTALL}; or set "
            "executor: local."
        ) from error
    return ray


def check_head(address: str) -> None:
    """Check that something listens at HOST:PORT; Ray itself would try for ever.

    Raises:
        OSError: nothing does.
        ValueError: it is no address.
    """
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), _CONNECT_S).close()


def copy_code(folder: Path) -> list[str]:
    """Copy the packages that jobs may import, for machines that lack them; code and YAML only.

    Ray would send everything in a package's folder, also the user's images.

    Returns:
        The folder of each package.
    """
    from core.checkpoint import ROOMS

    copied = []
    for room in ROOMS:
        for file in (ROOT / room).rglob("*"):
            if file.suffix in {".py", ".yaml"}:
                copy = folder / file.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
        copied.append(str(folder / room))
    return copied
