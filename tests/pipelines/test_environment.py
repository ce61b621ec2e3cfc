"""Environment variables for other programs do not change a run."""

import os
import subprocess
from pathlib import Path

import pytest

from pipelines.environment import (
    remove_foreign_variables,
    remove_proxies,
    server_environment,
    stage_environment,
)
from tests.pipelines.run.test_interrupts import RUN
from tests.support import Repository, environment

INTERNET = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "SSL_CERT_FILE": "/no/such/file.pem",
}
FOREIGN = {
    "PREFECT_HOME": "/no/such/home",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////no/such/folder/db",
    "PREFECT_API_KEY": "of another server",
    "DVC_EXP_AUTO_PUSH": "1",
    "GIT_DIR": "/no/such/repository/.git",
    "GIT_INDEX_FILE": "/no/such/index",
    "PYTHONHASHSEED": "7",
    "PYTHONSAFEPATH": "1",
    "PYTHONWARNINGS": "error::DeprecationWarning",
    "SHELL": "/bin/false",
}


@pytest.mark.slow
def test_a_run_ignores_variables_for_other_programs(finished_toy: Repository):
    toy = finished_toy
    toy.change({"devices": {"a": {"width": 5}}})
    (toy.root / "run.py").write_text(RUN)
    child = subprocess.Popen(
        ["python", "run.py"],
        cwd=toy.root,
        env={**environment(), **INTERNET, **FOREIGN},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output, _ = child.communicate(timeout=300)
    assert child.returncode == 0, output
    assert "release: done" in output
    assert "Traceback" not in output


def test_stages_receive_the_proxy_variables_and_no_foreign_ones():
    ours = {"PATH": "/bin", "HOME": "/h", "PYTHONPATH": "/ros", **INTERNET, **FOREIGN}
    remove_foreign_variables(ours)
    remove_proxies(ours)
    assert not INTERNET.keys() & ours.keys()
    stage = stage_environment(ours)
    assert {name: stage[name] for name in INTERNET} == INTERNET
    assert stage["SHELL"] == "/bin/sh"
    assert not (FOREIGN.keys() - {"SHELL"} | {"PYTHONPATH"}) & stage.keys()
    assert stage["HOME"] == "/h"


@pytest.mark.parametrize(
    ("url", "kept"),
    [("https://prefect.example.org/api", True), ("http://127.0.0.1:4200/api", False)],
)
def test_a_server_of_the_users_own_keeps_its_settings(url: str, kept: bool):
    ours = {"PREFECT_API_URL": url, "PREFECT_API_KEY": "key", "PREFECT_HOME": "/x", **INTERNET}
    remove_foreign_variables(ours)
    remove_proxies(ours)
    assert ours["PREFECT_API_URL"] == url
    assert ours["PREFECT_API_KEY"] == "key"
    assert "PREFECT_HOME" not in ours
    assert (INTERNET.items() <= ours.items()) is kept
    server = server_environment(ours, Path("/home"), "http://127.0.0.1:5/")
    assert server["PREFECT_API_URL"] != url
    assert "PREFECT_API_KEY" not in server


def test_git_reports_this_repository_inside_a_hook(toy: Repository):
    ours = {**os.environ, "GIT_DIR": "/no/such/repository", "GIT_WORK_TREE": "/no/such/tree"}
    remove_foreign_variables(ours)
    command = ["git", "rev-parse", "--show-toplevel"]
    found = subprocess.run(command, cwd=toy.root, env=ours, capture_output=True, text=True)
    assert Path(found.stdout.strip()) == toy.root.resolve(), found.stderr
