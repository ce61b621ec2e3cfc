"""Files that a killed DVC left truncated do not stop the next command."""

import json
import os
import threading
import time
from pathlib import Path

import pytest
from dvc.lock import make_lock

from pipelines.graph import read_graph
from pipelines.repair import LOCK, back_up_lock, clear_rwlock, repair_lock, repair_rwlock
from pipelines.run.process import StageProcesses
from tests.support import Repository

HALF = ("", '{"write": {"/repository/artifacts')


def rwlock(root: Path) -> Path:
    file = root / ".dvc" / "tmp" / "rwlock"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("left", HALF, ids=["emptied", "begun"])
def test_a_truncated_rwlock_stops_neither_the_graph_nor_a_stage(toy: Repository, left: str) -> None:
    rwlock(toy.root).write_text(left)
    assert "corrupted" in toy.dvc("repro", "source")[1], "DVC repairs it now: remove repair_rwlock"
    graph = read_graph(toy.root)
    rwlock(toy.root).write_text(left)
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: None)
    assert processes.run(graph["source"]) == "ran"


def test_a_valid_rwlock_is_unchanged(tmp_path: Path) -> None:
    repair_rwlock(tmp_path)  # no DVC repository: nothing to repair
    rwlock(tmp_path).write_text('{"read": {}}')
    repair_rwlock(tmp_path)
    assert rwlock(tmp_path).read_text() == '{"read": {}}'


def test_repair_waits_for_a_writer_of_the_rwlock(tmp_path: Path) -> None:
    file = rwlock(tmp_path)
    guard = make_lock(str(file.with_name("rwlock.lock")), tmp_dir=str(file.parent))
    with guard:
        file.write_text("")
        repair = threading.Thread(target=repair_rwlock, args=(tmp_path,))
        repair.start()
        time.sleep(0.2)
        file.write_text('{"write": {}}')
    repair.join(20)
    assert not repair.is_alive()
    assert file.read_text() == '{"write": {}}'


def cut_in_a_hash(content: bytes) -> bytes:
    return content[: content.rindex(b"md5: ") + 12]


def cut_in_a_key(content: bytes) -> bytes:
    return content[: content.rindex(b"  outs:") + 4]


def emptied(content: bytes) -> bytes:
    return b""


@pytest.mark.slow
@pytest.mark.parametrize("cut", [emptied, cut_in_a_hash, cut_in_a_key], ids=lambda f: f.__name__)
def test_a_truncated_dvc_lock_is_restored_from_its_backup_and_the_run_continues(
    finished_toy: Repository, cut, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = finished_toy
    back_up_lock(toy.root)
    whole = (toy.root / LOCK).read_bytes()
    (toy.root / LOCK).write_bytes(cut(whole))
    graph = read_graph(toy.root)
    assert "replaced by its last backup" in capsys.readouterr().err
    assert (toy.root / LOCK).read_bytes() == whole
    assert (toy.root / ".netwright/dvc.lock.torn").read_bytes() == cut(whole)
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: None)
    assert processes.run(graph["train"]) == "fresh"
    repair_lock(toy.root)
    assert capsys.readouterr().err == "", "a valid one is unchanged"


@pytest.mark.slow
def test_a_truncated_dvc_lock_without_backup_is_removed_and_results_are_restored(
    finished_toy: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = finished_toy
    (toy.root / LOCK).write_bytes(cut_in_a_hash((toy.root / LOCK).read_bytes()))
    graph = read_graph(toy.root)
    assert "was removed" in capsys.readouterr().err
    assert not (toy.root / LOCK).exists()
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: None)
    assert [processes.run(graph[name]) for name in ("source", "train")] == ["fresh", "fresh"]
    assert not (toy.root / "ran.log").exists()


def test_dvc_lock_is_backed_up_after_each_stage(toy: Repository) -> None:
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: None)
    processes.run(read_graph(toy.root)["source"])
    kept = toy.root / ".netwright/dvc.lock.kept"
    assert kept.read_bytes() == (toy.root / LOCK).read_bytes()


def test_a_dvc_lock_with_conflict_markers_is_unchanged(toy: Repository) -> None:
    conflict = b"<<<<<<< ours\nschema: '2.0'\n=======\nstages: {}\n>>>>>>> theirs\n"
    (toy.root / LOCK).write_bytes(conflict)
    repair_lock(toy.root)
    assert (toy.root / LOCK).read_bytes() == conflict


@pytest.mark.parametrize(("written", "stays"), [(0, False), (4e9, True)], ids=["before", "after"])
def test_an_rwlock_entry_with_a_reused_pid_is_removed(
    tmp_path: Path, written: float, stays: bool
) -> None:
    entry = {"pid": os.getpid(), "cmd": "dvc repro"}
    rwlock(tmp_path).write_text(json.dumps({"write": {"/x": entry}, "read": {"/y": [entry]}}))
    os.utime(rwlock(tmp_path), (written, written))
    clear_rwlock(tmp_path)
    assert rwlock(tmp_path).exists() is stays
