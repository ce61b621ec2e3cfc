"""What a killed DVC leaves half-written does not stop the next command."""

import threading
import time
from pathlib import Path

import pytest
from dvc.lock import make_lock

from pipelines.graph import read_graph
from pipelines.mending import mend_rwlock
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
