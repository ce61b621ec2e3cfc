"""How the pairs are drawn, that the busy loops end, and that the verdict is the numbers'."""

import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.latency_busy.__main__ import BUSY, Pass, busy_loops, judge, write_pairs
from devices.measure.interleaved import Measurement


def passed(ratios: list[float], seconds: float) -> Pass:
    return Pass(
        tuple(Measurement(r, r / 1.02, r / 0.98, 0.01, 0.1, 11, 0.5) for r in ratios), seconds
    )


@pytest.mark.slow
def test_every_pair_has_a_network_of_its_own(tmp_path: Path) -> None:
    pairs = write_pairs(5, tmp_path)
    models = [file for files in pairs.values() for file in files]
    assert len(set(models)) == len(models) == 5
    assert not set(models) & set(pairs)
    assert all(file.is_file() for file in [*models, *pairs])


def test_busy_loops_run_within_the_block_and_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Watched(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: tuple[str, ...]) -> None:
            assert command == BUSY
            super().__init__(command)
            started.append(self)

    monkeypatch.setattr("benchmarks.latency_busy.__main__.subprocess.Popen", Watched)

    def interrupted() -> None:
        with busy_loops(2):
            time.sleep(0.1)
            assert [loop.poll() for loop in started] == [None, None]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [loop.returncode for loop in started] == [-9, -9]


def test_the_verdict_is_of_the_pairs_and_of_the_time() -> None:
    quiet = passed([2.0] * 20, 10.0), passed([2.02] * 20, 12.0)
    text = judge(quiet, passed([2.01] * 19 + [2.5], 32.0), 2)
    assert "**Met**: 95% of 20 pairs within 5%" in text
    assert "**Met**: 2.91 times the time" in text
    assert "95% of the 95% intervals measured beside the loops hold" in text
    text = judge(quiet, passed([2.01] * 18 + [2.5] * 2, 34.0), 2)
    assert "**Missed**: 90% of 20 pairs" in text
    assert "**Missed**: 3.09 times" in text
