"""Commands during a run: `run` is refused in one line, `status` shows the running stages."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from pipelines.run.server import run_server
from pipelines.workspace import Workspace
from tests.pipelines.run.test_interrupts import ROOT, RUN, reset_signals, sleeps, wait_for
from tests.serving import free_port
from tests.support import Netwright, Repository, environment, kill_tree

pytestmark = pytest.mark.slow


def test_during_a_run_another_is_refused_and_status_shows_the_running_stages(
    finished_toy: Repository, netwright: Netwright
):
    toy = finished_toy
    toy.change({"devices": {"a": {"width": 5000}}})
    file = toy.root / "dvc.yaml"
    file.write_text(file.read_text().replace("timeout_s: 20", "timeout_s: 5000"))
    ignored = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"  # as nohup does
    (toy.root / "run.py").write_text(ignored + RUN)
    child = toy.start("run.py", start_new_session=True, preexec_fn=reset_signals)
    try:
        wait_for(lambda: sleeps(child.pid))
        os.killpg(child.pid, signal.SIGHUP)
        time.sleep(1)
        assert child.poll() is None, "a signal that the caller ignores stays ignored"
        code, output = netwright(toy.root, "run")
        assert code == 2, output
        assert f"another run is active (process {child.pid})" in output
        assert "rwlock" not in output
        code, output = netwright(toy.root, "status")
        assert code == 0, output
        assert f"A run is active (process {child.pid})." in output
        assert "Running now: bundle@a" in output
        code, output = netwright(toy.root, "report")
        assert (code, "no release to report on" in output) == (1, True), output
        os.killpg(child.pid, signal.SIGTERM)
        output, _ = child.communicate(timeout=60)
        assert child.returncode == 143, output
        assert "rwlock" not in output
    finally:
        if child.poll() is None:
            kill_tree(child.pid)
    assert Workspace(toy.root).running_pid() is None
    assert not (toy.root / ".netwright/run.json").exists()


HISTORY = """
import os
from pathlib import Path
from pipelines.workspace import Workspace
workspace = Workspace(Path.cwd())
workspace.configure_prefect(os.environ, "CRITICAL")
from pipelines.run.flow import import_history, mark_crashed
mark_crashed(workspace)
import_history(workspace)
"""


def test_the_web_ui_shows_the_output_of_stages_and_the_history_of_the_command_line(
    finished_toy: Repository, monkeypatch: pytest.MonkeyPatch
):
    toy = finished_toy
    toy.change({"devices": {"a": {"width": 5}}})
    monkeypatch.setenv("PREFECT_API_URL", "")
    monkeypatch.delenv("PREFECT_API_URL")
    port, workspace = free_port(), Workspace(toy.root)
    (toy.root / "run.py").write_text(RUN)
    with run_server(workspace, port) as url:
        assert url == f"http://127.0.0.1:{port}"
        assert get_json(f"{url}/ui-settings")["api_url"] == f"{url}/api"
        python(toy, url, "run.py")
        runs = get_json(f"{url}/api/task_runs/filter", {})
        probe = next(run["id"] for run in runs if run["name"] == "probe@a")
        only = {"logs": {"task_run_id": {"any_": [probe]}}}
        messages = [log["message"] for log in get_json(f"{url}/api/logs/filter", only)]
        assert "progress 1/2 loss=0.5 left=3s" in messages
        (live,) = get_json(f"{url}/api/flow_runs/filter", {})
        assert live["state_type"] == "COMPLETED"
        assert workspace.past_records() == {}, "Prefect has recorded it"
        past = {"began": 1.7e9, "ended": 1.7e9 + 60, "flow_run": None}
        train = {"state": "failed", "began": 1.7e9, "ended": 1.7e9 + 50}
        for record in (
            {**past, "stages": {"train": train, "release": {"state": "not started"}}},
            {**past, "ended": None, "stages": {"train": {"state": "running", "began": 1.7e9}}},
            {**past, "flow_run": live["id"], "stages": {}},
        ):
            workspace.write_record(record)
            workspace.close_record(keep=True)
        python(toy, url, "-c", HISTORY)
        assert workspace.past_records() == {}
        found = get_json(f"{url}/api/flow_runs/filter", {})
        assert sorted(run["state_type"] for run in found) == ["CRASHED", "CRASHED", "FAILED"]
        (failed,) = [run for run in found if run["state_type"] == "FAILED"]
        assert failed["start_time"].startswith("2023-11-14T22:13:20")
        assert failed["total_run_time"] == 60
        body = {"flow_runs": {"id": {"any_": [failed["id"]]}}}
        (task,) = get_json(f"{url}/api/task_runs/filter", body)
        assert (task["name"], task["state_type"], task["total_run_time"]) == ("train", "FAILED", 50)


def python(repository: Repository, url: str, *arguments: str) -> None:
    """Run a program of this repository with a server set by the user."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=repository.root,
        env={**environment(), "PREFECT_API_URL": f"{url}/api", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def get_json(url: str, body: dict | None = None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
