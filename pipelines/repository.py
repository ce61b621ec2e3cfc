"""Entry into the repository of a command: its code, HOME and DVC's git settings."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from pipelines.graph import GraphError, find_root

_WITHOUT_GIT = """\
# Written by netwright, because no git repository is around this folder: DVC would refuse to work.
# Removed by it as soon as there is one (git init).
[core]
    no_scm = true
"""


def enter(start: Path) -> Path:
    """Find the repository, make it the working folder and ready for DVC; returns its root.

    Raises GraphError if there is none, or this program belongs to another clone.
    """
    root = find_root(start)
    check_own_code(root)
    os.chdir(root)
    ensure_home(root)
    ensure_scm_config(root)
    return root


def check_own_code(root: Path) -> None:
    """Raise GraphError if this code is of another clone, whose stages and settings may differ."""
    own = Path(__file__).resolve().parents[1]
    if (root / "pipelines").is_dir() and not own.samefile(root):
        raise GraphError(
            f"this netwright belongs to {own}, but the current repository is {root}: the code of "
            f"one would run with the params of the other. Use {root / '.venv/bin/netwright'} "
            f"(created by `make install` there), or change to {own}."
        )


def ensure_home(root: Path) -> None:
    """Set HOME and LOGNAME for a user without a passwd entry, such as a container's numeric UID.

    DVC, Prefect and Matplotlib require them.
    """
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - pathlib raises instead
        home = root / ".netwright" / "home"
        home.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(home)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # no passwd entry and no variable such as LOGNAME
        os.environ["LOGNAME"] = f"user{os.getuid()}"


def ensure_scm_config(root: Path) -> None:
    """Set DVC's `no_scm` if the folder is not in a git repository (an unpacked download).

    The user's own `.dvc/config.local` is never changed; GraphError if it does not set `no_scm`.
    """
    local = root / ".dvc" / "config.local"
    found = any((folder / ".git").exists() for folder in (root, *root.parents))
    content = local.read_text(encoding="utf-8") if local.is_file() else None
    if found and content == _WITHOUT_GIT:
        local.unlink()
    elif not found and content is None and (root / ".dvc").is_dir():
        local.write_text(_WITHOUT_GIT, encoding="utf-8")
    elif not found and content is not None and "no_scm" not in content:
        raise GraphError(
            f"{root} is not in a git repository, which DVC requires: run `git init`, or add "
            f"`no_scm = true` to the section [core] of {local}."
        )
