"""Damaged objects in DVC's cache are detected, and their stage runs again."""

from pathlib import Path

import pytest

from pipelines.cache import cache_folder
from pipelines.graph import read_graph
from pipelines.run.process import StageProcesses
from tests.support import Repository


def damage(repository: Repository, content: str) -> Path:
    """Change one byte of the cached object that holds this text."""
    for file in cache_folder(repository.root).rglob("*"):
        if file.is_file() and file.read_text() == content:
            file.chmod(0o644)
            file.write_text("J" + content[1:])
            file.chmod(0o444)
            return file
    raise AssertionError("no such object")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["removed", "changed back"])
def test_a_damaged_object_is_dropped_and_the_stage_run(toy: Repository, way: str):
    lines: list[str] = []
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: lines.append(line))
    graph = read_graph(toy.root)
    for name in ("source", "train"):
        assert processes.run(graph[name]) == "ran"
    before = toy.hashes()
    damage(toy, "hello\n")
    (toy.root / "ran.log").unlink()
    if way == "removed":
        (toy.root / "out/train/x").unlink()
        (toy.root / "out/train").rmdir()
    else:  # restored from DVC's run cache, not by its lock file
        script = (toy.root / "train.sh").read_text()
        (toy.root / "train.sh").write_text(script.replace("cp ", "echo other; cp "))
        (toy.root / "out/source/x").write_text("hello\n")
        assert processes.run(read_graph(toy.root)["train"]) == "ran"
        (toy.root / "train.sh").write_text(script)
        damaged = damage(toy, "hello\n") if not _is_damaged(toy) else None
        assert damaged is None or damaged.exists()
        (toy.root / "ran.log").unlink()
    assert processes.run(read_graph(toy.root)["train"]) == "ran"
    assert (toy.root / "ran.log").read_text() == "train\n"
    assert (toy.root / "out/train/x").read_text() == "hello\n"
    assert any("damaged out/train/x: removed" in line for line in lines)
    assert toy.hashes() == before
    assert processes.run(graph["train"]) == "fresh"


def _is_damaged(repository: Repository) -> bool:
    files = [file for file in cache_folder(repository.root).rglob("*") if file.is_file()]
    return any(file.read_text() == "Jello\n" for file in files)


@pytest.mark.slow
def test_a_sound_object_is_restored(toy: Repository):
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: None)
    graph = read_graph(toy.root)
    for name in ("source", "train"):
        processes.run(graph[name])
    (toy.root / "out/train/x").unlink()
    assert processes.run(graph["train"]) == "fresh"
    assert (toy.root / "out/train/x").read_text() == "hello\n"
