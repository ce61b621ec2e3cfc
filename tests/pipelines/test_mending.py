"""What a killed DVC leaves half-written does not stop the next command."""

import json
import os
import threading
import time
from pathlib import Path

import pytest
from dvc.lock import make_lock

from pipelines.graph import read_graph
from pipelines.mending import LOCK, clear_rwlock, keep_lock, mend_lock, mend_rwlock
from pipelines.process import StageProcesses
from tests.support import Repository

HALF = ("", '{"write": {"/repository/artifacts')


def rwlock(root: Path) -> Path:
    file = root / ".dvc" / "tmp" / "rwlock"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


@pytest.mark.parametrize("left", HALF, ids=["emptied", "begun"])
def test_a_half_written_lock_file_stops_neither_the_graph_nor_a_stage(
    toy: Repository, left: str
) -> None:
    rwlock(toy.root).write_text(left)
    assert "corrupted" in toy.dvc("repro", "source")[1], "DVC has learnt to mend it: drop mending"
    graph = read_graph(toy.root)
    rwlock(toy.root).write_text(left)
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: None)
    assert processes.run(graph["source"]) == "ran"


def test_a_whole_lock_file_stays_as_it_is(tmp_path: Path) -> None:
    mend_rwlock(tmp_path)  # no DVC repository: nothing to mend
    rwlock(tmp_path).write_text('{"read": {}}')
    mend_rwlock(tmp_path)
    assert rwlock(tmp_path).read_text() == '{"read": {}}'


def test_a_lock_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    file = rwlock(tmp_path)
    guard = make_lock(str(file.with_name("rwlock.lock")), tmp_dir=str(file.parent))
    with guard:
        file.write_text("")
        mending = threading.Thread(target=mend_rwlock, args=(tmp_path,))
        mending.start()
        time.sleep(0.2)
        file.write_text('{"write": {}}')
    mending.join(20)
    assert not mending.is_alive()
    assert file.read_text() == '{"write": {}}'


def cut_in_a_hash(content: bytes) -> bytes:
    return content[: content.rindex(b"md5: ") + 12]


def cut_in_a_key(content: bytes) -> bytes:
    return content[: content.rindex(b"  outs:") + 4]


def emptied(content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("cut", [emptied, cut_in_a_hash, cut_in_a_key], ids=lambda f: f.__name__)
def test_a_half_written_record_is_replaced_by_the_last_whole_one_and_the_run_goes_on(
    toy: Repository, cut, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy.dvc("repro", "--quiet", "train")[0] == 0
    keep_lock(toy.root)
    whole = (toy.root / LOCK).read_bytes()
    (toy.root / LOCK).write_bytes(cut(whole))
    graph = read_graph(toy.root)
    assert "replaced by the last whole one" in capsys.readouterr().err
    assert (toy.root / LOCK).read_bytes() == whole
    assert (toy.root / ".netwright/dvc.lock.torn").read_bytes() == cut(whole)
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: None)
    assert processes.run(graph["train"]) == "fresh"
    mend_lock(toy.root)
    assert capsys.readouterr().err == "", "a whole one stays as it is"


def test_a_half_written_record_of_the_first_stage_is_removed_and_its_work_found_again(
    toy: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy.dvc("repro", "--quiet", "train")[0] == 0
    (toy.root / LOCK).write_bytes(cut_in_a_hash((toy.root / LOCK).read_bytes()))
    graph = read_graph(toy.root)
    assert "was removed" in capsys.readouterr().err
    assert not (toy.root / LOCK).exists()
    (toy.root / "ran.log").unlink()
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: None)
    assert [processes.run(graph[name]) for name in ("source", "train")] == ["fresh", "fresh"]
    assert not (toy.root / "ran.log").exists()


def test_what_a_stage_has_done_is_kept_at_once(toy: Repository) -> None:
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: None)
    processes.run(read_graph(toy.root)["source"])
    kept = toy.root / ".netwright/dvc.lock.kept"
    assert kept.read_bytes() == (toy.root / LOCK).read_bytes()


def test_a_record_in_conflict_is_left_to_the_user(toy: Repository) -> None:
    conflict = b"<<<<<<< ours\nschema: '2.0'\n=======\nstages: {}\n>>>>>>> theirs\n"
    (toy.root / LOCK).write_bytes(conflict)
    mend_lock(toy.root)
    assert (toy.root / LOCK).read_bytes() == conflict


@pytest.mark.parametrize(("written", "stays"), [(0, False), (4e9, True)], ids=["before", "after"])
def test_a_command_that_had_a_process_number_in_use_again_is_forgotten(
    tmp_path: Path, written: float, stays: bool
) -> None:
    entry = {"pid": os.getpid(), "cmd": "dvc repro"}
    rwlock(tmp_path).write_text(json.dumps({"write": {"/x": entry}, "read": {"/y": [entry]}}))
    os.utime(rwlock(tmp_path), (written, written))
    clear_rwlock(tmp_path)
    assert rwlock(tmp_path).exists() is stays
