"""A toy repository: DVC stages that are shell commands, so that flow tests take seconds.

source -> probe@DEVICE (exclusive, first) -> bundle@DEVICE -> release
   +----> train ---------------------------------^
"""

import os
import shutil
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from pipelines.cli.app import main
from tests.support import (
    Netwright,
    Repository,
    built_once,
    copy_repository,
    environment,
    on_digits,
)

DVC_YAML = """
vars: [params.yaml]
stages:
  source:
    cmd: mkdir -p out/source && echo ${source.text} > out/source/x && echo source >> ran.log
    params: [source]
    outs: [out/source]
    meta: {retries: 1}
  train:
    cmd: sh train.sh
    deps: [out/source, train.sh]
    outs: [out/train]
  probe:
    foreach: ${devices}
    do:
      cmd: sh probe.sh ${key}
      deps: [out/source, probe.sh]
      params: ["devices.${key}"]
      outs: ["out/probe/${key}"]
      meta: {exclusive: true, first: true}
  bundle:
    foreach: ${devices}
    do:
      cmd: sh bundle.sh ${key} ${item.width}
      deps: ["out/probe/${key}", out/train, bundle.sh]
      params: ["devices.${key}"]
      outs: ["out/bundle/${key}"]
      meta: {timeout_s: 20}
  release:
    cmd: mkdir -p out/release && cat out/bundle/*/x > out/release/x && echo release >> ran.log
    deps: [out/bundle]
    outs: [out/release]
"""
FILES = {
    "dvc.yaml": DVC_YAML,
    "params.yaml": "source: {text: hello}\ndevices:\n  a: {width: 1}\n  b: {width: 2}\n",
    "train.sh": "mkdir -p out/train; cp out/source/x out/train/x; echo train >> ran.log\n",
    "probe.sh": (
        "echo progress 1/2 loss=0.5 left=3s\nmkdir -p out/probe/$1\n"
        "cp out/source/x out/probe/$1/x\n"
        "echo $1 >> out/probe/$1/x; echo probe@$1 >> ran.log\n"
    ),
    "bundle.sh": (
        'if [ "$2" -lt 0 ]; then echo "error: width $2 is below 0." >&2; exit 1; fi\n'
        'if [ "$2" -gt 99 ]; then sleep "$2"; fi\n'
        "mkdir -p out/bundle/$1; cat out/probe/$1/x out/train/x > out/bundle/$1/x\n"
        "echo $2 >> out/bundle/$1/x; echo bundle@$1 >> ran.log\n"
    ),
    ".gitignore": "out/\n.netwright/\nran.log\n",
}


def build_toy(root: Path) -> None:
    """Write the toy repository, in which nothing has run yet."""
    root.mkdir()
    for name, content in FILES.items():
        (root / name).write_text(content)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    code, output = Repository(root).dvc("init", "--quiet")
    assert code == 0, output


@pytest.fixture
def toy(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A toy repository in which nothing has run yet."""
    prepared = built_once(tmp_path_factory, "toy", build_toy)
    return Repository(shutil.copytree(prepared, tmp_path / "toy"))


@pytest.fixture
def finished_toy(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A toy repository in which every stage is up to date."""

    def build(root: Path) -> None:
        build_toy(root)
        code, output = Repository(root).dvc("repro", "--quiet")
        assert code == 0, output
        (root / "ran.log").unlink()

    prepared = built_once(tmp_path_factory, "finished_toy", build)
    return Repository(shutil.copytree(prepared, tmp_path / "toy"))


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The whole graph on digits after `netwright run`; no test changes it."""

    def build(root: Path) -> None:
        repository = on_digits(copy_repository(root))
        code, output = repository.netwright("run", "--jobs", "2", timeout=1500)
        assert code == 0, output
        for column in ("device", "precision", "predicted", "measured", "budget", "verdict"):
            assert column in output
        assert "artifacts/bundle/one/one.tar.gz" in output
        assert "Traceback" not in output

    return Repository(built_once(tmp_path_factory, "released", build))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, released: Repository) -> Repository:
    """A copy of it for the tests of one file, each of which restores params, lock and artifacts."""

    def build(root: Path) -> None:
        shutil.copytree(released.root, root, symlinks=True)

    return Repository(built_once(tmp_path_factory, "finished", build))


@pytest.fixture
def netwright(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Netwright:
    """Run the command line in a folder, in this process: a new one takes seconds to import."""

    def run(root: Path, *arguments: str, copy: bool = True) -> tuple[int, str]:
        with monkeypatch.context() as patched, mock.patch.dict(os.environ, environment()):
            patched.chdir(root)
            patched.setattr("sys.argv", ["netwright", *arguments])
            if copy:  # of the repository whose code this process runs
                patched.setattr("pipelines.repository.check_own_code", lambda root: None)
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        shown = capfd.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    return run
