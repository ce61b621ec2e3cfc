"""A resumed supernet run gives the same bytes as an uninterrupted one."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.files import sha256_file
from tests.worlds import kill_after


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(world, shifted: Path, tmp_path: Path) -> None:
    """With `pi`, which has most state besides the weights."""
    whole, out = tmp_path / "whole", tmp_path / "supernet"
    changes = {"strategy": "pi", "epochs": 0.5}
    world.run("supernet", whole, params=world.params("whole", supernet=changes), data=shifted)
    # How often it saves changes nothing; every step makes the kill land in the middle.
    often = world.params("often", supernet={**changes, "checkpoint_every": 1})
    command = [sys.executable, "-m", "stages", "supernet"]
    command += world.arguments("supernet", out, params=often, data=shifted)
    saved = tmp_path / ".supernet.partial" / "state.pt"
    assert kill_after("supernet", command[4:], saved.exists) == -9
    assert saved.exists()
    assert not out.exists()

    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "progress 1/" not in again.stdout  # it did not start from the beginning
    for name in ("supernet.safetensors", "history.json"):
        assert sha256_file(out / name) == sha256_file(whole / name)
