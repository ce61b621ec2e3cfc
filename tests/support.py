"""A temporary copy of the repository, and the commands that run in it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".netwright", "artifacts", "dvc.lock", "__pycache__", "*.egg-info", "cache",
    "tmp", ".*_cache", ".hypothesis", "results",
)  # fmt: skip

Netwright = Callable[..., tuple[int, str]]
"""The command line in this process: folder and arguments to exit code and output."""


class Repository:
    """A temporary repository and the commands that run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program of this interpreter's environment: `-m pipelines run`, for example."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.root,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def netwright(self, *arguments: str, timeout: float = 200) -> tuple[int, str]:
        """Run the command line; returns exit code and output."""
        return self._run("-m", "pipelines", *arguments, timeout=timeout)

    def dvc(self, *arguments: str, timeout: float = 200) -> tuple[int, str]:
        """Run DVC; returns exit code and output."""
        return self._run("-m", "dvc", *arguments, timeout=timeout)

    def python(self, *arguments: str, timeout: float = 600) -> tuple[int, str]:
        """Run this Python; returns exit code and output."""
        return self._run(*arguments, timeout=timeout)

    def _run(self, *arguments: str, timeout: float) -> tuple[int, str]:
        child = self.start(*arguments)
        try:
            output, _ = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            kill_tree(child.pid)
            output, _ = child.communicate()
            pytest.fail(f"{' '.join(arguments)} took more than {timeout} s:\n{output}")
        return child.returncode, output

    @property
    def params(self) -> dict[str, Any]:
        """The content of params.yaml."""
        content = YAML(typ="safe").load(self.root / "params.yaml")
        assert isinstance(content, dict)
        return content

    def change(self, changes: Mapping[str, Any]) -> None:
        """Merge changes into params.yaml; a value of `...` removes its key."""
        YAML().dump(merged(self.params, changes), self.root / "params.yaml")

    @property
    def locked(self) -> dict[str, Any]:
        """The entries of dvc.lock per stage."""
        content = YAML(typ="safe").load(self.root / "dvc.lock")
        return dict(content["stages"])

    def lock(self, stages: Mapping[str, Any]) -> None:
        """Write dvc.lock with these entries."""
        with (self.root / "dvc.lock").open("w") as file:
            YAML().dump({"schema": "2.0", "stages": dict(stages)}, file)

    def hashes(self) -> dict[str, str]:
        """Hash of every output that DVC recorded, by path."""
        return {o["path"]: o["md5"] for stage in self.locked.values() for o in stage["outs"]}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with nested changes merged in."""
    result = dict(base)
    for key, value in changes.items():
        if value is ...:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def environment() -> dict[str, str]:
    """A user's environment: no settings of the test runner, this Python's programs in PATH."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "PYTEST", "DVC"))}
    kept.pop("PYTHONPATH", None)
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PATH": path, "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"}


def kill_tree(pid: int) -> None:
    """SIGKILL a process and its descendants; itself first, so that it starts no new ones."""
    parent = psutil.Process(pid)
    for process in [parent, *parent.children(recursive=True)]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def copy_repository(target: Path, source: Path = ROOT) -> Repository:
    """Copy a repository without its outputs."""
    shutil.copytree(source, target, ignore=LEFT_OUT, symlinks=True)
    subprocess.run(["git", "init", "--quiet", str(target)], check=True)
    return Repository(target)


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that `build` fills once per session, also if several processes run the tests.

    Tests that change it use a copy.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a build that failed
            build(folder)
            done.touch()
    return folder


def on_digits(repository: Repository) -> Repository:
    """The repository with the suite's small params."""
    changes = YAML(typ="safe").load(ROOT / "tests/pipelines/digits.yaml")
    repository.change({"devices": ...})
    repository.change(changes)
    return repository
