"""Operating system errors are reported with file, reason and remedy."""

import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.files import FileFormatError, atomic_path, write_new
from core.system import _cpu_quota, core_count, describe_os_error
from tests.support import ROOT, environment


def test_a_full_disk_names_the_file(tmp_path: Path):
    with (
        pytest.raises(OSError, match="No space") as error,
        atomic_path(tmp_path / "table.json"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")
    said = describe_os_error(error.value)
    assert said.startswith(f"{tmp_path / 'table.json'}: the disk is full: free some space")


@pytest.mark.slow
def test_a_stage_that_may_not_write_so_much_ends_with_one_line(tmp_path: Path):
    params = tmp_path / "params.yaml"
    data = {"source": "digits", "path": str(tmp_path / "raw"), "size": 8}
    data |= {"val_fraction": 0.1, "test_fraction": 0.1, "max_corrupt": 0}
    params.write_text(json.dumps({"data": data}))
    program = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
        "sys.argv[1:] = sys.argv[1:]; runpy.run_module('stages', run_name='__main__')"
    )
    command = [sys.executable, "-B", "-c", program, "fetch", "--params", str(params)]
    child = subprocess.run(
        [*command, "--out", str(tmp_path / "raw")],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 1
    (line,) = child.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/raw/images.npy: the file is larger than")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENAMETOOLONG, errno.EMFILE])
def test_every_reason_has_a_remedy(number: int):
    said = describe_os_error(OSError(number, os.strerror(number), b"/some/caf\xe9"))
    assert said.startswith(r"/some/caf\udce9: ")
    assert said.endswith("run again afterwards.")
    assert os.strerror(number) not in said


def test_a_reason_without_a_remedy_keeps_its_own_words():
    assert describe_os_error(OSError("the socket is odd")) == "the socket is odd."


def test_a_file_that_the_user_named_is_never_written_over(tmp_path: Path):
    file = tmp_path / "mine.png"
    write_new(file, b"one")
    write_new(file, b"one")
    with pytest.raises(FileFormatError, match=r"mine\.png already exists"):
        write_new(file, b"two")
    assert file.read_bytes() == b"one"


V1 = {"cpu.cfs_quota_us": "150000\n", "cpu.cfs_period_us": "100000\n"}
NO_LIMIT_V1 = V1 | {"cpu.cfs_quota_us": "-1\n"}


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {}, math.inf),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        # A container that sees only its own group, at the top.
        ("0::/docker/f00\n", {"cpu.max": "300000 100000\n"}, 3.0),
        (
            "5:cpuset:/\n4:cpu,cpuacct:/a\n0::/a\n",
            {f"cpu/a/{name}": text for name, text in V1.items()},
            1.5,
        ),
        (
            "4:cpuacct,cpu:/\n",
            {f"cpu/{n}": t for n, t in (V1 | {"cpu.cfs_quota_us": "-1"}).items()},
            math.inf,
        ),
    ],
)
def test_a_quota_of_cpu_time_limits_the_cores(
    tmp_path: Path, groups: str, files: dict[str, str], quota: float
):
    for name, text in {"proc/self/cgroup": groups}.items() | {
        (f"sys/fs/cgroup/{name}", text) for name, text in files.items()
    }:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    affinity = len(os.sched_getaffinity(0))
    assert core_count(tmp_path) == max(1, math.floor(min(quota, affinity)))
    assert _cpu_quota(tmp_path) == quota


def test_the_affinity_limits_the_cores(tmp_path: Path):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert core_count(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)
    assert core_count(tmp_path) == len(before)
