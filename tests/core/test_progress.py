import pytest

from core.progress import Progress, count_steps, parse


def test_what_is_counted_shows_a_step_for_each_thing_done(capsys: pytest.CaptureFixture[str]):
    with Progress("measure", 5, start=2, interval=0.0) as progress:
        done = count_steps(progress)
        for name in ("float32", "float16", "int8"):
            done(name)
    updates = [parse(line) for line in capsys.readouterr().out.splitlines()]
    assert [(update.step, update.steps) for update in updates if update] == [(3, 5), (4, 5), (5, 5)]
