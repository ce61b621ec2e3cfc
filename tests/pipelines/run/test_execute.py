"""Runs of the toy repository's stages."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from core.errors import UserError
from pipelines.graph import read_graph
from pipelines.run.process import StageFailedError, StageProcesses
from pipelines.workspace import Workspace
from tests.support import ROOT, Repository, kill_tree

RUN = """
import sys
from pathlib import Path
from pipelines.plan import make_plan
from pipelines.run.execute import RunFailedError, run_stages
from pipelines.workspace import Workspace
plan = make_plan(Path.cwd())
try:
    run_stages(Workspace(Path.cwd()), plan.graph, plan.stale, 2)
except RunFailedError as error:
    print("error:", error)
    sys.exit(1)
"""


def start_run(toy: Repository) -> subprocess.Popen[str]:
    """Start a run in its own process, with this repository's code."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{RUN}"
    (toy.root / "runner.py").write_text(program)
    return toy.start("runner.py")


def run_all(toy: Repository) -> tuple[int, str]:
    child = start_run(toy)
    output, _ = child.communicate(timeout=400)
    return child.returncode, output


def ran(toy: Repository) -> list[str]:
    """The stages whose command ran since the last call, in order."""
    log = toy.root / "ran.log"
    names = log.read_text().split() if log.is_file() else []
    log.unlink(missing_ok=True)
    return names


@pytest.mark.slow
def test_a_run_executes_the_graph_and_gives_what_dvc_gives(toy: Repository):
    code, output = run_all(toy)
    assert code == 0, output
    order = ran(toy)
    assert sorted(order) == sorted(stage.name for stage in read_graph(toy.root))
    assert order[:3] == ["source", "probe@a", "probe@b"], "`first` stages run first"
    assert "probe@a: started" in output
    assert (toy.root / ".netwright/logs/probe@a.log").read_text().count("progress 1/2") == 1
    assert toy.dvc("status")[1].strip() == "Data and pipelines are up to date."


@pytest.mark.slow
def test_a_failed_stage_holds_back_what_needs_it_and_a_first_stage_everything(
    finished_toy: Repository,
):
    toy = finished_toy
    toy.change({"devices": {"b": {"width": -1}}})
    code, output = run_all(toy)
    assert code == 1
    assert "width -1 is below 0." in output
    assert "Traceback" not in output
    assert "1 stages were not started" in output
    assert ran(toy) == ["probe@b"]

    (toy.root / "probe.sh").write_text('echo "error: this budget cannot be met." >&2; exit 1\n')
    script = toy.root / "train.sh"
    script.write_text(script.read_text() + "# another\n")
    code, output = run_all(toy)
    assert code == 1
    assert "probe@a: this budget cannot be met." in output
    assert "Traceback" not in output
    assert ran(toy) == [], "no training starts"


@pytest.mark.slow
def test_a_stage_that_takes_too_long_is_stopped(toy: Repository):
    assert toy.dvc("repro", "--quiet", "train", "probe@a")[0] == 0
    toy.change({"devices": {"a": {"width": 500}}})
    file = toy.root / "dvc.yaml"
    file.write_text(file.read_text().replace("timeout_s: 20", "timeout_s: 3"))
    stage = read_graph(toy.root)["bundle@a"]
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: None)
    began = time.monotonic()
    with pytest.raises(StageFailedError, match="stopped at its timeout of 3 s"):
        processes.run(stage)
    assert time.monotonic() - began < 15


def test_a_second_run_beside_the_first_is_refused(toy: Repository):
    workspace = Workspace(toy.root)
    with (
        workspace.lock(),
        pytest.raises(UserError, match=f"another run is active.*{os.getpid()}"),
        workspace.lock(),
    ):
        pass
    with workspace.lock():
        pass


def test_stages_left_by_a_killed_run_keep_the_repository(toy: Repository):
    workspace = Workspace(toy.root)
    with workspace.lock() as lock:
        orphan = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    try:
        with pytest.raises(UserError), workspace.lock():
            pass
    finally:
        kill_tree(orphan.pid)
        orphan.wait()
    with workspace.lock():
        pass


def test_only_the_last_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipelines.workspace.KEPT_RUNS", 2)
    workspace = Workspace(tmp_path)
    workspace.folder.mkdir()
    for began in (1.0, 2.0, 3.0):
        workspace.write_record({"began": began, "ended": began, "flow_run": None, "stages": {}})
        workspace.close_record(keep=True)
    assert [run["began"] for run in workspace.past_records().values()] == [2.0, 3.0]
