"""SIGINT, SIGTERM and SIGHUP: one line, the signal's exit code, no processes left."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support import Repository, environment, kill_tree

ROOT = Path(__file__).resolve().parents[2]
STOPPED = "stopped. Finished stages are kept; the next run continues from there."
RUN = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
import pipelines.cli.app as cli
from pipelines.cli.run import run_stale
from pipelines.plan import make_plan
from pipelines.workspace import Workspace

def run():
    with Workspace(Path.cwd()).lock():
        plan = make_plan(Path.cwd())
        run_stale(Path.cwd(), plan.graph, list(plan.stale), 2, False)

cli.app = run
cli.main()
"""
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture
def sleeping(toy: Repository) -> Repository:
    """A repository with a stage that sleeps."""
    toy.change({"devices": {"a": {"width": 5000}}})
    file = toy.root / "dvc.yaml"
    file.write_text(file.read_text().replace("timeout_s: 20", "timeout_s: 5000"))
    (toy.root / "run.py").write_text(RUN)
    return toy


def started(repository: Repository, *command: str) -> subprocess.Popen[str]:
    """Start a command in a process group of its own, as a shell does."""
    return repository.start(*command, start_new_session=True, preexec_fn=reset_signals)


def reset_signals() -> None:
    """Reset signals that the parent of the tests ignores (nohup, a shell's `&`)."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "timeout"
        time.sleep(0.05)


def family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def runs(pid: int, word: str) -> bool:
    """Whether a process has a descendant with this word in its command."""
    for process in family(pid):
        with contextlib.suppress(psutil.Error):
            if word in process.cmdline():
                return True
    return False


def sleeps(pid: int) -> bool:
    return runs(pid, "sleep")


def ended(child: subprocess.Popen[str], before: list[psutil.Process]) -> str:
    """Output of a stopped run, once it and all its descendants have ended."""
    output, _ = child.communicate(timeout=60)
    _, alive = psutil.wait_procs(before, timeout=15)
    assert alive == []
    return output


def test_a_signal_to_the_whole_group_ends_a_run_in_one_line(sleeping: Repository):
    child = started(sleeping, "run.py")
    try:
        wait_for(lambda: sleeps(child.pid))
        before = family(child.pid)
        os.killpg(child.pid, signal.SIGINT)
        output = ended(child, before)
    finally:
        if child.poll() is None:
            kill_tree(child.pid)
    assert child.returncode == 130, output
    last = output.splitlines()[-1]
    assert last == f"error: {STOPPED}"
    assert output.count("error") == 1, output
    assert "Traceback" not in output
    assert "bundle@a" not in sleeping.locked
    assert "probe@a" in sleeping.locked, "finished stages are kept"


def test_a_second_signal_ends_it_at_once(sleeping: Repository):
    child = started(sleeping, "run.py")
    wait_for(lambda: sleeps(child.pid))
    before = family(child.pid)
    os.killpg(child.pid, signal.SIGINT)
    os.killpg(child.pid, signal.SIGINT)
    output = ended(child, before)
    assert child.returncode == 130, output
    assert output.splitlines()[-1] == f"error: {STOPPED}"
    assert "Traceback" not in output


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_before_the_first_stage_ends_it_too(digits: Repository, number: signal.Signals):
    child = started(digits, "-m", "pipelines", "run")
    wait_for(lambda: (digits.root / ".netwright" / "run.lock").is_file())
    before = family(child.pid)
    os.killpg(child.pid, number)
    output = ended(child, before)
    assert child.returncode == SIGNALS[number], output
    assert output.strip() == f"error: {STOPPED}"


def test_a_closed_terminal_ends_a_run_and_leaves_nothing(sleeping: Repository):
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "run.py"],
        cwd=sleeping.root,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=reset_signals,
        env={**environment(), "TERM": "xterm"},
    )
    os.close(slave)
    os.set_blocking(master, False)

    def read() -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(master, 1 << 16)

    wait_for(lambda: (read(), sleeps(child.pid))[1])
    before = family(child.pid)
    os.close(master)
    os.killpg(child.pid, signal.SIGHUP)
    assert child.wait(60) == 129
    _, alive = psutil.wait_procs(before, timeout=15)
    assert alive == []


def test_the_descendants_of_a_killed_run_end_by_themselves(sleeping: Repository):
    child = started(sleeping, "run.py")
    wait_for(lambda: sleeps(child.pid))
    before = family(child.pid)
    child.kill()
    child.communicate()
    _, alive = psutil.wait_procs(before, timeout=15)
    assert alive == []
    sleeping.change({"devices": {"a": {"width": 5}}})
    again = started(sleeping, "run.py")
    output, _ = again.communicate(timeout=200)
    assert again.returncode == 0, output
    assert "bundle@a: done" in output


def test_a_signal_that_is_ignored_by_the_caller_stays_ignored(sleeping: Repository):
    (sleeping.root / "run.py").write_text(
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + RUN  # as nohup does
    )
    child = started(sleeping, "run.py")
    wait_for(lambda: sleeps(child.pid))
    os.killpg(child.pid, signal.SIGHUP)
    time.sleep(1)
    assert child.poll() is None
    before = family(child.pid)
    os.killpg(child.pid, signal.SIGTERM)
    ended(child, before)
    assert child.returncode == 143
