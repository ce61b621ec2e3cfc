"""The indicator's benchmark counts what it says."""

import pytest

from benchmarks.indicators.__main__ import Effort, measure, world_of


@pytest.mark.slow
def test_a_million_is_compared_with_one_architecture_evaluated_in_the_same_run() -> None:
    effort = Effort(count=500, images=32, blocks=1, batch=8)
    world = world_of(effort)
    text = measure(world, effort)
    assert "500 random architectures of `bn-nas`" in text
    assert "accuracy on 32 random images (3x32x32)" in text
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| BN")]
    assert len(rows) == 2
