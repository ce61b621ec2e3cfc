"""Outputs of equal inputs are copied, and two at once are one after the other."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

from stages.train.twins import copy_twin, leave_mark, one_at_a_time


def made(folder: Path, inputs: str) -> Path:
    folder.mkdir()
    (folder / "a").write_text("one")
    (folder / "b").write_text("two")
    leave_mark(folder, inputs)
    return folder


def test_only_a_whole_and_unchanged_output_of_equal_inputs_is_copied(tmp_path: Path) -> None:
    twin, mine = made(tmp_path / "twin", "abc"), tmp_path / "mine"
    assert copy_twin(mine, "abd") is None
    assert copy_twin(twin, "abc") is None, "it is not its own twin"
    assert not mine.exists()
    assert copy_twin(mine, "abc") == twin
    assert {file.name: file.read_text() for file in mine.iterdir()} == {"a": "one", "b": "two"}
    (twin / "b").unlink()
    assert copy_twin(tmp_path / "third", "abc") is None
    assert not (tmp_path / "third").exists()


def test_a_killed_holder_lets_the_next_one_in(tmp_path: Path) -> None:
    code = """
        import sys, time
        from pathlib import Path
        from stages.train.twins import one_at_a_time
        with one_at_a_time(Path(sys.argv[1]), "abc"):
            print("held", flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "other")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    waiting = "import sys; from pathlib import Path; from stages.train.twins import one_at_a_time"
    waiting += "\nwith one_at_a_time(Path(sys.argv[1]), 'abc'): print('mine', flush=True)"
    command = [sys.executable, "-c", waiting, str(tmp_path / "mine")]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert "waiting for it" in other.stdout.readline()
    time.sleep(0.2)
    assert other.poll() is None
    holder.kill()
    assert other.stdout.readline() == "mine\n"
    assert other.wait() == 0
    with one_at_a_time(tmp_path / "mine", "abc"):
        pass
    assert list(tmp_path.glob("*.lock")) == []
