"""The repository that a command works in: whose code runs there, and whether git is around it."""

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

    Raises:
        GraphError: there is none, or this program is another one's.
        OSError: the folder may not be written.
    """
    root = find_root(start)
    check_own_code(root)
    os.chdir(root)
    settle_home(root)
    settle_git(root)
    return root


def check_own_code(root: Path) -> None:
    """Refuse another clone's code: its stages and settings may differ from this one's.

    Raises:
        GraphError: the message has both folders.
    """
    own = Path(__file__).resolve().parents[1]
    if (root / "pipelines").is_dir() and not own.samefile(root):
        raise GraphError(
            f"this netwright belongs to {own}, and the repository here is {root}: the code of one "
            f"would run on the params of the other. Use {root / '.venv/bin/netwright'} (`make "
            f"install` there makes it), or change to {own}."
        )


def settle_home(root: Path) -> None:
    """Give libraries a home where the system knows none, as for a container's bare user number.

    DVC, Prefect and Matplotlib ask for one, whether or not they write there.
    """
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - pathlib raises instead
        home = root / ".netwright" / "home"
        home.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(home)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # no entry in passwd, and no variable that says it
        os.environ["LOGNAME"] = f"user{os.getuid()}"


def settle_git(root: Path) -> None:
    """Let DVC work where no git repository is around the folder, such as an unpacked download.

    A `.dvc/config.local` of the user's own is left alone.

    Raises:
        GraphError: the user's own does not say `no_scm`.
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
            f"no git repository is around {root}, and DVC wants one: `git init`, or add `no_scm = "
            f"true` to the section [core] of {local}."
        )
