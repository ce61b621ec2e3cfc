"""SIGINT, SIGTERM and SIGHUP: one line, the signal's exit code, no processes left."""

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from tests.support import ROOT, Repository, environment, kill_tree

pytestmark = pytest.mark.slow
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
from pipelines.__main__ import main
main()
"""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def sleeping(finished_toy: Repository) -> Repository:
    """A repository in which bundle@a is the next stage, and sleeps."""
    finished_toy.change({"devices": {"a": {"width": 5000}}})
    file = finished_toy.root / "dvc.yaml"
    file.write_text(file.read_text().replace("timeout_s: 20", "timeout_s: 5000"))
    assert finished_toy.dvc("commit", "--force", "probe@a")[0] == 0
    shutil.rmtree(finished_toy.root / "out/bundle/a")
    (finished_toy.root / "run.py").write_text(RUN)
    return finished_toy


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


def test_a_run_after_a_killed_one_ends_in_one_line_at_a_signal_to_its_group(sleeping: Repository):
    child = started(sleeping, "run.py")
    wait_for(lambda: sleeps(child.pid))
    before = family(child.pid)
    child.kill()
    child.communicate()
    _, alive = psutil.wait_procs(before, timeout=15)
    assert alive == [], "the descendants of a killed run end by themselves"

    done = sleeping.locked
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
    assert "bundle@b: started" not in output, "finished stages are kept"
    assert sleeping.locked == done, "the stopped one is not recorded"


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


def test_a_signal_before_the_first_stage_ends_it_too(digits: Repository):
    child = started(digits, "-m", "pipelines", "run")
    wait_for(lambda: (digits.root / ".netwright" / "run.lock").is_file())
    before = family(child.pid)
    os.killpg(child.pid, signal.SIGTERM)
    output = ended(child, before)
    assert child.returncode == 143, output
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
