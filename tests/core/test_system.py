"""Operating system errors are reported with file, reason and remedy."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.files import FileFormatError, atomic_path, write_new
from core.system import describe_os_error
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
