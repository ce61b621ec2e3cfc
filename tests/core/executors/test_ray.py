"""Jobs on real Ray clusters of this machine: the same bytes, deaths, errors, ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from core.errors import UserError
from core.executors import create_executor
from core.executors.cluster import copy_code
from core.executors.local import LocalSettings
from core.executors.ray import RaySettings
from tests.core.executors import jobs
from tests.core.executors.jobs import Deadly
from tests.support import ROOT

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
HERE = RaySettings(address="local", workers=2)
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")

sys.meta_path.insert(0, Missing())
from core.executors import create_executor
from core.executors.ray import RaySettings
create_executor(RaySettings(), 1, 0)
"""


def python(
    code: str, *arguments: str, folder: Path = ROOT, **variables: str
) -> subprocess.Popen[str]:
    """Start a program, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_missing_package_names_the_extra():
    output, _ = python(WITHOUT).communicate(timeout=60)
    assert output.splitlines()[-1] == (
        "core.errors.UserError: executor: ray needs the package ray (No module named 'ray'). "
        "Install it: pip install 'netwright[ray]'; or set executor: local."
    )


def test_only_code_is_sent_to_other_machines(tmp_path: Path):
    folders = [Path(folder) for folder in copy_code(tmp_path)]
    assert {folder.name for folder in folders} == {"core", "data", "models", "devices", "stages"}
    sent = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert {file.suffix for file in sent} == {".py", ".yaml"}
    assert (tmp_path / "core/executors/worker.py").read_bytes() == (
        ROOT / "core/executors/worker.py"
    ).read_bytes()
    assert sum(file.stat().st_size for file in sent) < 5_000_000


@pytest.mark.slow
def test_a_job_gives_the_same_bytes_here_and_on_a_cluster_that_loses_a_worker(tmp_path: Path):
    jobs.write_world(tmp_path)
    opened = partial(jobs.open_world, tmp_path)
    here = dict(create_executor(LocalSettings(workers=1), 1, 5).run(jobs.train, opened, range(4)))
    before = len(list(tmp_path.glob("opened-*")))
    deadly = [Deadly(tmp_path, seed, deaths=int(seed == 2)) for seed in range(4)]
    found = dict(create_executor(HERE, 1, 5).run(jobs.die_then_train, opened, deadly))
    assert found == here
    assert len(list(tmp_path.glob("opened-*"))) == before + 1
    assert len((tmp_path / "attempts-2").read_text().split()) == 2


@pytest.mark.slow
def test_a_cluster_reports_and_raises_what_a_job_raises():
    found: list[tuple[int, float | str]] = []
    executor = create_executor(HERE, 2, 0)
    names = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY"]
    outcomes = executor.run(
        jobs.mixed,
        jobs.nothing,
        [("count", 600), ("variables", names), ("fail", "user")],
        listener=lambda index, value: found.append((index, value)),
    )
    results = {}
    with pytest.raises(UserError, match=r"^batch: 7 does not divide 12\.$"):
        results.update(outcomes)
    steps = [value for index, value in found if index == 0]
    assert len(steps) >= 2
    assert steps == sorted(steps)


@pytest.mark.slow
def test_a_job_without_room_is_an_error():
    executor = create_executor(HERE.model_copy(update={"num_gpus": 100.0}), 1, 0)
    with pytest.raises(UserError, match=r"reserves 1 CPU cores and 100 GPUs .*at most 2 and"):
        list(executor.run(jobs.count, jobs.nothing, [1]))


RUN = """
import signal
import sys
from pathlib import Path

from core.executors import create_executor
from core.executors.ray import RaySettings
from tests.core.executors import jobs

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
executor = create_executor(RaySettings(address="local", workers=2), 1, 0)
list(executor.run(jobs.sleep, jobs.nothing, [Path(sys.argv[1])] * 2))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_cluster_ends_with_its_parent(tmp_path: Path, number: int):
    parent = python(RUN, str(tmp_path))
    try:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("running-*"))) < 2:
            assert parent.poll() is None, parent.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        below = psutil.Process(parent.pid).children(recursive=True)
        os.kill(parent.pid, number)
        working = [p for p in below if (tmp_path / f"running-{p.pid}").exists()]
        assert len(working) == 2
        assert psutil.wait_procs(working, timeout=15)[1] == []
        # Ray's agents try for a minute to report that the cluster is gone.
        assert psutil.wait_procs(below, timeout=120)[1] == []
        parent.wait(30)
    finally:
        parent.kill()
    output, _ = parent.communicate(timeout=30)
    assert output.count("Traceback") == int(number == signal.SIGINT), output


LISTENING = """
import psutil

from core.executors import create_executor
from core.executors.ray import RaySettings
from tests.core.executors import jobs

executor = create_executor(RaySettings(address="local", workers=2), 1, 0)
outcomes = executor.run(jobs.count, jobs.nothing, [1, 2000])
next(outcomes)
processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
found = [c for p in processes for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
print(*sorted({c.laddr.ip.removeprefix("::ffff:") for c in found}))
outcomes.close()
"""


@pytest.mark.slow
def test_a_cluster_on_this_machine_listens_on_the_loopback_interface_only():
    output, _ = python(LISTENING).communicate(timeout=120)
    assert output.splitlines()[-1] == "127.0.0.1", output


ON_A_CLUSTER = """
import sys

from core.executors import create_executor
from core.executors.ray import RaySettings

def where(world, job):
    import core
    import models.space.architecture
    return core.__file__

def world():
    return None

print(*create_executor(RaySettings(address=sys.argv[1]), 1, 0).run(where, world, [1]))
"""


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a cluster that another process has started, in a folder of its own."""
    folder = tempfile.mkdtemp(prefix="ray")  # the paths of its sockets are limited
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus=2"]
    options = ["--port=6391", "--node-ip-address=127.0.0.3", "--include-dashboard=false"]
    log = Path(folder) / "start.log"
    with log.open("w") as file:
        head = subprocess.Popen(
            [*command, *options, f"--temp-dir={folder}"],
            env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"} | TOKEN,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    deadline = time.monotonic() + 60
    while "Ray runtime started" not in log.read_text():
        assert head.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    below = psutil.Process(head.pid).children(recursive=True)
    yield "127.0.0.3:6391"
    for process in [psutil.Process(head.pid), *below]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    head.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_cluster_that_exists_receives_the_code(cluster: str, tmp_path: Path):
    output, _ = python(ON_A_CLUSTER, cluster, folder=tmp_path, **TOKEN).communicate(timeout=120)
    assert "py_modules_files" in output.splitlines()[-1], output


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.3:1", "head", "no-such-host.invalid:6379"])
def test_a_cluster_that_is_not_there_is_an_error(tmp_path: Path, address: str):
    output, _ = python(ON_A_CLUSTER, address, folder=tmp_path).communicate(timeout=120)
    last = output.splitlines()[-1]
    assert f"executor.address: no Ray cluster at '{address}'" in last, output
    assert last.endswith("or set address: local.")
