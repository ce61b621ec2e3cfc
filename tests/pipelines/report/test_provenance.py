"""Provenance records of bundles."""

import json
import subprocess
from pathlib import Path

import pytest

from pipelines.report.provenance import git_state, repository_state


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    done = subprocess.run(
        ["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "params.yaml").write_text("a: 1\n")
    git(tmp_path, "add", "params.yaml")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_a_clean_tree_is_its_revision(committed: Path):
    found = git_state(committed)
    assert found["revision"] == git(committed, "rev-parse", "HEAD")
    assert (found["dirty"], found["changed_files"], found["changed"]) == (False, 0, [])
    assert found["why_unknown"] is None


@pytest.mark.parametrize("name", ["params.yaml", "new.py"])
def test_a_changed_or_a_new_file_makes_the_tree_dirty_and_is_named(committed: Path, name: str):
    (committed / name).write_text("a: 2\n")
    found = git_state(committed)
    assert (found["dirty"], found["changed_files"], found["changed"]) == (True, 1, [name])


def test_a_changed_lock_file_does_not_make_the_tree_dirty(committed: Path):
    (committed / "dvc.lock").write_text("schema: '2.0'\n")
    assert git_state(committed)["dirty"] is False
    before = repository_state(committed)
    (committed / "dvc.lock").write_text("schema: '2.1'\n")
    after = repository_state(committed)
    assert before["dvc_lock_sha256"] != after["dvc_lock_sha256"]


def test_without_a_revision_the_state_is_unknown(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = git_state(tmp_path)
    assert found["revision"] is found["dirty"] is None
    assert "not a git repository" in found["why_unknown"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path)["why_unknown"] == "git is not installed"


def test_the_record_is_the_same_for_the_same_state(committed: Path):
    first, second = (json.dumps(repository_state(committed)) for _ in range(2))
    assert first == second
    assert json.loads(first)["dvc_lock_sha256"] is None, "no lock file yet"


def test_a_copy_inside_another_repository_does_not_record_its_revision(committed: Path):
    unpacked = committed / "unpacked"
    unpacked.mkdir()
    (unpacked / "params.yaml").write_text("a: 1\n")
    found = git_state(unpacked)
    assert found["revision"] is found["dirty"] is None
    assert "params.yaml" in found["why_unknown"]
