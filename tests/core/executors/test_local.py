"""Jobs in real worker processes on this machine: outcomes, deaths, errors, output, ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from core.errors import UserError
from core.executors import JobError, create_executor
from core.executors.local import LocalExecutor, LocalSettings
from tests.core.executors import jobs
from tests.core.executors.jobs import Deadly

pytestmark = pytest.mark.slow


def local(workers: int, threads: int = 1) -> LocalExecutor:
    executor = create_executor(LocalSettings(workers=workers), threads, seed=5)
    assert isinstance(executor, LocalExecutor)
    return executor


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder that `jobs.open_world` can open."""
    jobs.write_world(tmp_path)
    return tmp_path


def test_outcomes_do_not_depend_on_the_workers_nor_on_the_order(world: Path):
    seeds = [3, 1, 4, 15, 9]
    opened = partial(jobs.open_world, world)
    one = dict(local(1).run(jobs.train, opened, seeds))
    assert len(list(world.glob("opened-*"))) == 1
    two = dict(local(2).run(jobs.train, opened, seeds))
    assert len(list(world.glob("opened-*"))) == 3
    backwards = dict(local(2).run(jobs.train, opened, seeds[::-1]))
    assert one == two == {4 - index: weights for index, weights in backwards.items()}
    assert len(set(one.values())) == len(seeds)


def test_a_killed_job_is_repeated_with_the_same_outcome(world: Path):
    opened = partial(jobs.open_world, world)
    job = [Deadly(world, seed, deaths=seed) for seed in range(3)]
    outcomes = dict(local(2).run(jobs.die_then_train, opened, job))
    assert outcomes == dict(local(1).run(jobs.train, opened, range(3)))
    attempts = [(world / f"attempts-{seed}").read_text().split() for seed in range(3)]
    assert [len(a) for a in attempts] == [1, 2, 3]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(signal.SIGKILL, "memory ran out"), (signal.SIGSEGV, "A native library failed")],
)
def test_a_job_that_dies_three_times_is_an_error(world: Path, number: int, remedy: str):
    opened = partial(jobs.open_world, world)
    job = [Deadly(world, 0), Deadly(world, 1, deaths=9, number=number), Deadly(world, 2)]
    finished = {}
    outcomes = local(2).run(
        jobs.die_then_train, opened, job, name=lambda one: f"network {one.seed}"
    )
    with pytest.raises(UserError) as raised:
        finished.update(outcomes)
    assert finished.keys() == {0, 2}, "its last attempt is after all others"
    name = signal.Signals(number).name
    assert str(raised.value).startswith(
        f"network 1 ended its worker in each of 3 attempts ({name}, {name}, {name})"
    )
    assert remedy in str(raised.value)


@pytest.mark.parametrize(
    ("job", "kind", "text"),
    [
        ("user", UserError, r"^batch: 7 does not divide 12\.$"),
        ("bug", JobError, r"(?s)^job 1 of 1 failed:\n.*in fail\n.*ZeroDivisionError"),
    ],
)
def test_an_error_of_a_job_is_raised_here(job: str, kind: type[Exception], text: str):
    with pytest.raises(kind, match=text) as raised:
        list(local(1).run(jobs.fail, jobs.nothing, [job]))
    assert type(raised.value) is kind
    assert running() == []


def test_an_error_of_opening_the_world_is_raised_here():
    with pytest.raises(UserError, match=r"images\.npy: not an array"):
        list(local(2).run(jobs.count, jobs.broken_world, [1, 2, 3]))


def test_jobs_added_meanwhile_are_run_by_the_same_workers(world: Path):
    seeds = [1, 2]
    found = {}
    for index, weights in local(2).run(jobs.train, partial(jobs.open_world, world), seeds):
        found[index] = weights
        if len(seeds) < 5:
            seeds.append(len(seeds) + 1)
    assert found == dict(local(1).run(jobs.train, partial(jobs.open_world, world), seeds))
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert len(list(world.glob("opened-*"))) == 2 + 1


def test_a_job_added_meanwhile_that_dies_is_repeated(world: Path):
    added = [Deadly(world, 0, deaths=0)]
    outcomes = {}
    for index, weights in local(2).run(jobs.die_then_train, partial(jobs.open_world, world), added):
        outcomes[index] = weights
        if len(added) == 1:
            added.append(Deadly(world, 1, deaths=2))
    assert outcomes == dict(local(1).run(jobs.train, partial(jobs.open_world, world), range(2)))


def test_a_worker_killed_while_idle_costs_no_attempt(world: Path):
    added = [Deadly(world, 0, deaths=0)]
    outcomes = {}
    for index, weights in local(1).run(jobs.die_then_train, partial(jobs.open_world, world), added):
        outcomes[index] = weights
        if len(added) == 1:
            (worker,) = [p for p in psutil.Process().children() if "spawn_main" in str(p.cmdline())]
            worker.kill()
            added.append(Deadly(world, 1, deaths=2))
    assert outcomes == dict(local(1).run(jobs.train, partial(jobs.open_world, world), range(2)))


def test_no_jobs_need_no_worker():
    assert list(local(2).run(jobs.count, jobs.broken_world, [])) == []


def test_reports_are_sparse_and_name_their_job():
    found: list[tuple[int, float | str]] = []
    outcomes = dict(
        local(2).run(
            jobs.count, jobs.nothing, [300, 20], listener=lambda i, value: found.append((i, value))
        )
    )
    assert outcomes == {0: 300, 1: 20}
    steps = [value for index, value in found if index == 0]
    assert 2 <= len(steps) <= 20
    assert steps == sorted(steps)
    assert (1, 0) in found


def test_a_worker_has_the_threads_of_the_job_and_this_process_keeps_its_own():
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY"]
    before = dict(os.environ)
    [(_, found)] = local(1, threads=2).run(jobs.variables, jobs.nothing, [names])
    assert found == dict.fromkeys(names[:3], "2") | {"OMP_WAIT_POLICY": "PASSIVE", "torch": "2"}
    assert dict(os.environ) == before


def test_leaving_early_ends_all_workers():
    outcomes = local(2).run(jobs.count, jobs.nothing, [1, 4000, 4000])
    assert next(outcomes) == (0, 1)
    assert running()
    outcomes.close()
    assert running() == []


RUN = """
import signal
import sys
from pathlib import Path

from core.executors import create_executor
from core.executors.local import LocalSettings
from tests.core.executors import jobs

folder = Path(sys.argv[2])
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    arguments = [folder, folder] if sys.argv[1] == "sleep" else [1, 2]
    executor = create_executor(LocalSettings(workers=2), 1, 0)
    list(executor.run(getattr(jobs, sys.argv[1]), jobs.nothing, arguments))
"""


def start(tmp_path: Path, task: str) -> subprocess.Popen[str]:
    """A program that runs two jobs, in a process group of its own."""
    program = tmp_path / "program.py"
    program.write_text(RUN)
    return subprocess.Popen(
        [sys.executable, str(program), task, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def family(parent: subprocess.Popen[str], folder: Path) -> list[psutil.Process]:
    """All processes below a program, once both of its jobs run."""
    deadline = time.monotonic() + 60
    while len(list(folder.glob("running-*"))) < 2:
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    below = psutil.Process(parent.pid).children(recursive=True)
    assert {f"running-{p.pid}" for p in below} >= {f.name for f in folder.glob("running-*")}
    return below


def test_no_process_outlives_a_killed_parent(tmp_path: Path):
    parent = start(tmp_path, "sleep")
    below = family(parent, tmp_path)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(below, timeout=5)
    assert alive == []


def test_ctrl_c_ends_all_at_once_and_only_the_parent_says_so(tmp_path: Path):
    parent = start(tmp_path, "sleep")
    below = family(parent, tmp_path)
    os.killpg(parent.pid, signal.SIGINT)
    output, _ = parent.communicate(timeout=10)
    _, alive = psutil.wait_procs(below, timeout=5)
    assert alive == []
    assert output.count("Traceback") == 1
    assert "program.py" in output
    assert "worker.py" not in output


def test_ctrl_c_while_workers_start_leaves_no_traceback_of_theirs(tmp_path: Path):
    parent = start(tmp_path, "sleep")
    deadline = time.monotonic() + 60
    while len(below := psutil.Process(parent.pid).children(recursive=True)) < 2:
        assert time.monotonic() < deadline
    os.killpg(parent.pid, signal.SIGINT)
    output, _ = parent.communicate(timeout=10)
    _, alive = psutil.wait_procs(below, timeout=5)
    assert alive == []
    assert output.count("Traceback") == 1


def test_lines_of_several_workers_stay_whole(tmp_path: Path):
    parent = start(tmp_path, "chatter")
    output, _ = parent.communicate(timeout=60)
    whole = {str(job) * length for job in (1, 2) for length in (10, 20, 30)}
    lines = output.splitlines()
    assert set(lines) == whole | {"no newline"}
    assert len(lines) == 2 * 200 * 3 + 2


def running() -> list[psutil.Process]:
    """Worker processes below this one."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(process.cmdline())
    ]
