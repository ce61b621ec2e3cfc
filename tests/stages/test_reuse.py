"""Outputs of equal inputs are copied, and concurrent runs wait for each other."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from models.training.reuse import copy_finished_run, lock_inputs, record_inputs


def made(folder: Path, inputs: str) -> Path:
    folder.mkdir()
    (folder / "a").write_text("one")
    (folder / "b").write_text("two")
    record_inputs(folder, inputs)
    return folder


def test_only_a_whole_and_unchanged_output_of_equal_inputs_is_copied(tmp_path: Path) -> None:
    twin, mine = made(tmp_path / "twin", "abc"), tmp_path / "mine"
    assert copy_finished_run(mine, "abd") is None
    assert copy_finished_run(twin, "abc") is None, "it is not its own twin"
    assert not mine.exists()
    assert copy_finished_run(mine, "abc") == twin
    assert {file.name: file.read_text() for file in mine.iterdir()} == {"a": "one", "b": "two"}
    (twin / "b").unlink()
    assert copy_finished_run(tmp_path / "third", "abc") is None
    assert not (tmp_path / "third").exists()


@pytest.mark.slow
def test_a_killed_holder_lets_the_next_one_in(tmp_path: Path) -> None:
    code = """
        import sys, time
        from pathlib import Path
        from models.training.reuse import lock_inputs
        with lock_inputs(Path(sys.argv[1]), "abc"):
            print("held", flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "other")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    waiting = "import sys; from pathlib import Path; from models.training.reuse import lock_inputs"
    waiting += "\nwith lock_inputs(Path(sys.argv[1]), 'abc'): print('mine', flush=True)"
    command = [sys.executable, "-c", waiting, str(tmp_path / "mine")]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert "waiting for it" in other.stdout.readline()
    time.sleep(0.2)
    assert other.poll() is None
    holder.kill()
    assert other.stdout.readline() == "mine\n"
    assert other.wait() == 0
    with lock_inputs(tmp_path / "mine", "abc"):
        pass
    assert list(tmp_path.glob("*.lock")) == []
