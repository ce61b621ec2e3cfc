"""Invalid input: the message has rule, value and fix; exit code 2; nothing is started."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.settings import ParamsError
from pipelines.checks.params import bind_params
from pipelines.checks.preflight import check_disk
from pipelines.checks.targets import thread_warnings
from tests.support import ROOT, Netwright, Repository

CPU = {"backend": "onnxruntime", "budget": {"latency_ms": 50.0}, "min_accuracy": 0.0}


@pytest.fixture
def refuse(small: Repository, netwright: Netwright) -> Callable[..., None]:
    """Check that a command fails before any stage starts, with these words."""
    before = (small.root / "params.yaml").read_bytes()

    def check(words: tuple[str, ...], *command: str) -> None:
        code, output = netwright(small.root, *command)
        (small.root / "params.yaml").write_bytes(before)
        assert code == 2, output
        for word in words:
            assert word in output, output
        assert "Traceback" not in output
        assert len(output.splitlines()) <= 24, "more than one screen"
        assert not (small.root / "artifacts").exists(), "something was started"
        assert not (small.root / "dvc.lock").exists()

    return check


def test_a_folder_with_one_class_is_refused(small: Repository, refuse: Callable[..., None]):
    folder = small.root / "images" / "cats"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "cat.png")
    small.change({"data": {"source": "folder", "path": "images"}})
    refuse(("images", "class"), "run")


@pytest.mark.parametrize("command", ["run", "status", "report"])
def test_images_that_dvc_cannot_hash_are_named(
    command: str, small: Repository, refuse: Callable[..., None], tmp_path: Path
):
    for name in (b"dog", b"caf\xe9"):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        for index in range(3):
            (folder / f"{index}.png").touch()
    (tmp_path / "dog" / "x.png").symlink_to("/nonexistent/x.png")
    small.change({"data": {"source": "folder", "path": str(tmp_path)}})
    refuse((r"not UTF-8, which DVC cannot record: caf\xe9", "dog/x.png -> /nonexistent"), command)


def test_an_empty_folder_is_refused(small: Repository, refuse: Callable[..., None]):
    (small.root / "empty").mkdir()
    small.change({"data": {"source": "folder", "path": "empty"}})
    refuse(("empty", "subfolder"), "run")


def test_params_that_are_not_yaml_are_refused(small: Repository, refuse: Callable[..., None]):
    (small.root / "params.yaml").write_text("data: [")
    refuse(("params.yaml is not valid YAML",), "run")


@pytest.mark.parametrize("name", ["1080", "false", "1e3"])
def test_a_device_name_that_yaml_reads_as_another_type_has_to_be_quoted(
    name: str, small: Repository, refuse: Callable[..., None]
):
    text = f"devices:\n  {name}: {{backend: onnxruntime}}\n"
    (small.root / "params.yaml").write_text(text)
    refuse((f"line 2: devices.{name} is not a string in YAML", f'in quotes: "{name}"'), "run")


def test_git_conflict_markers_are_reported_with_the_fix(small: Repository, netwright: Netwright):
    markers = "<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> theirs\n"
    for name in ("dvc.lock", "dvc.yaml", "params.yaml"):
        file = small.root / name
        before = file.read_text() if file.is_file() else None
        file.write_text((before or "") + markers)
        try:
            for command in ("run", "status"):
                code, output = netwright(small.root, command)
                assert code == 2, output
                assert f"{name} contains git's conflict markers" in output
                assert f"git checkout --ours {name}" in " ".join(output.split())
                assert file.read_text().endswith(markers)
        finally:
            file.unlink() if before is None else file.write_text(before)


def test_the_program_of_another_clone_is_refused_and_both_are_named(
    small: Repository, netwright: Netwright
):
    code, output = netwright(small.root, "run", copy=False)
    assert code == 2, output
    assert f"this netwright belongs to {ROOT}" in output
    assert f"the current repository is {small.root}" in output


@pytest.mark.slow
def test_a_download_without_git_works(small: Repository, netwright: Netwright):
    (small.root / ".git").rename(small.root / "no.git")
    try:
        code, output = netwright(small.root, "status")
        assert code == 0, output
        assert "fetch" in output
        # Also plain DVC; `config.local` is removed once there is a git repository.
        assert small.dvc("status")[0] == 0
    finally:
        (small.root / "no.git").rename(small.root / ".git")
    assert netwright(small.root, "status")[0] == 0
    assert not (small.root / ".dvc" / "config.local").exists()


def test_a_picture_and_an_agent_do_not_overwrite_files(tmp_path: Path, netwright: Netwright):
    for name, command in (
        ("cat.png", ["space", "compact", "--picture"]),
        ("notes.txt", ["agent", "--write"]),
    ):
        (tmp_path / name).write_text("mine")
        code, output = netwright(tmp_path, *command, name)
        assert code == 2, output
        assert f"{name} already exists" in output
        assert (tmp_path / name).read_text() == "mine"


def test_too_small_a_disk_is_refused(small: Repository, monkeypatch: pytest.MonkeyPatch):
    check_disk(small.root)
    monkeypatch.setattr("pipelines.checks.preflight.MIN_FREE_BYTES", 10**18)
    with pytest.raises(ParamsError, match=r"MB left, and a run needs at least"):
        check_disk(small.root)


def test_stages_with_more_threads_than_cores_cause_a_warning(small: Repository):
    values = dict(bind_params(small.root).values)
    assert thread_warnings(values) == []
    train = values["train"].model_copy(update={"processes": 1000})
    (warning,) = thread_warnings({**values, "train": train})
    assert warning.startswith("threads times train.processes: 1000 threads on")


@pytest.mark.parametrize("command", ["run", "status", "doctor"])
def test_every_command_outside_a_repository_is_an_error_with_the_fix(
    command: str, tmp_path: Path, netwright: Netwright
):
    code, output = netwright(tmp_path, command)
    assert code == 2
    assert "not a Netwright repository" in output


@pytest.mark.slow
def test_an_unknown_device_is_refused(refuse: Callable[..., None]):
    refuse(("no device 'onne'", "Did you mean 'one'?"), "run", "--device", "onne")
    refuse(("no device 'onne'", "Did you mean 'one'?"), "profile", "onne")


def test_no_jobs_is_refused(refuse: Callable[..., None]):
    refuse(("--jobs",), "run", "--jobs", "0")


def test_a_bad_schedule_is_refused(refuse: Callable[..., None]):
    refuse(("--cron 'tomorrow' is not a schedule", "five fields"), "serve", "--cron", "tomorrow")


def test_an_unknown_command_is_refused(refuse: Callable[..., None]):
    refuse(("No such command",), "rnu")


def test_a_bundle_that_is_not_there_is_wrong_use(refuse: Callable[..., None]):
    refuse(("does not exist",), "verify", "no.tar.gz")
    refuse(("does not exist",), "predict", "no.tar.gz", "image.png")


def test_a_missing_runtime_says_what_to_install(
    small: Repository, refuse: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    small.change({"devices": {"edge": {**CPU, "backend": "openvino"}}})
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    refuse(
        (
            "devices.edge.backend 'openvino': OpenVINO is not installed.",
            "Install it: pip install openvino",
        ),
        "run",
    )


@pytest.mark.slow
def test_a_prefect_server_that_does_not_answer_is_one_message(small: Repository):
    program = (
        "import os, sys; sys.argv = ['netwright', 'run']\n"
        "os.environ['PREFECT_API_URL'] = 'http://127.0.0.1:9/api'  # nothing listens on port 9\n"
        "from pipelines.cli.app import main; main()"
    )
    child = small.start("-c", program)
    output, _ = child.communicate(timeout=300)
    assert child.returncode == 1, output
    assert "PREFECT_API_URL=http://127.0.0.1:9/api does not answer" in output
    assert ".netwright/logs/server.log" in output
    assert "Traceback" not in output
    assert not (small.root / "artifacts").exists(), "something was started"
