"""The whole graph, killed by SIGKILL at random times, resumes to the same hashes."""

import os
import random
from pathlib import Path

import pytest

from tests.slow.kill_anywhere import Count, kill_anywhere

KILLS = os.environ.get("NETWRIGHT_KILLS")


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.skipif(KILLS is None, reason="takes an hour; set NETWRIGHT_KILLS=100 to run it")
def test_a_run_killed_anywhere_resumes_to_the_same_hashes(tmp_path: Path):
    count = Count()
    kill_anywhere(tmp_path, int(KILLS or 0), random.Random(0), count)
    assert count.kills == int(KILLS or 0)
    assert count.compared >= 4 * count.rounds
