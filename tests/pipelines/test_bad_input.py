"""What bad input gets: rule, value and way out; the right exit code; nothing started."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support import ROOT, Repository, copy_repository, on_digits

CPU = {"backend": "onnxruntime", "budget": {"latency_ms": 50.0}, "min_accuracy": 0.0}

PARAMS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a mistyped key": (
        {"supernet": {"epochs": ..., "epocs": 1.0}},
        ("supernet.epocs: unknown key. Did you mean 'epochs'?", "supernet.epochs: required"),
    ),
    "a mistyped section": (
        {"serch": {"steps": 3}},
        ("serch: unknown section. Did you mean 'search'?",),
    ),
    "a missing section": ({"rank": ...}, ("rank: required section",)),
    "an impossible value": (
        {"data": {"val_fraction": 1.5}},
        ("data.val_fraction:", "less than or equal to 0.5", "1.5"),
    ),
    "a wrong type": ({"train": {"epochs": "many"}}, ("train.epochs:", "number", "'many'")),
    "an unknown source": (
        {"data": {"source": "digit"}},
        ("data.source:", "Did you mean 'digits'?"),
    ),
    "an unknown backend": (
        {"devices": {"one": {"backend": "onnxrun"}}},
        ("devices.one.backend", "Did you mean 'onnxruntime'?"),
    ),
    "no devices": ({"devices": {"one": ..., "rtx": ...}}, ("devices: at least one",)),
    "a device's name": (
        {"devices": {"My Phone": CPU}},
        ("devices.My Phone", "lower-case letters"),
    ),
    "a device without budget": (
        {"devices": {"one": {"budget": {"latency_ms": ...}}}},
        ("devices.one.budget", "at least one of latency_ms"),
    ),
    "a setting of another backend": (
        {"devices": {"one": {"compute_capabilities": ["SM89"]}}},
        ("devices.one.compute_capabilities", "only for backend 'tensorrt'"),
    ),
    "a FLOPs budget nobody can meet": (
        {"devices": {"one": {"budget": {"flops": 10}}}},
        ("keeps flops within 10", "Raise devices.one.budget.flops"),
    ),
    "a latency budget nobody can meet": (
        {"devices": {"one": {"budget": {"latency_ms": 0.00001}}}},
        ("keeps latency_ms within 1e-05", "Raise devices.one.budget.latency_ms"),
    ),
    "a share of latency that nobody can keep": (
        {"devices": {"one": {"budget": {"latency_ms": ..., "latency_share": 0.001}}}},
        ("keeps latency_share within 0.001", "Raise devices.one.budget.latency_share"),
    ),
    "a share of latency above the whole": (
        {"devices": {"one": {"budget": {"latency_ms": ..., "latency_share": 1.5}}}},
        ("devices.one.budget.latency_share", "less than or equal to 1"),
    ),
    "latency limited twice": (
        {"devices": {"one": {"budget": {"latency_share": 0.5}}}},
        ("devices.one.budget", "latency_ms and latency_share limit the same latency"),
    ),
    "a share of a latency that nobody can measure": (
        {"devices": {"rtx": {"budget": {"flops": ..., "latency_share": 0.5}}}},
        ("devices.rtx.budget: latency_share cannot be searched for", "Add a budget of flops"),
    ),
    "a space too large for its algorithm": (
        {"search": {"algorithm": "exhaustive", "exhaustive": {"limit": 10}}},
        ("architectures", "at most 10 (search.exhaustive.limit)", "such as evolution"),
    ),
    "a missing space": (
        {"space": {"file": "models/spaces/compct.yaml"}},
        ("compct.yaml: no such search space", "models/spaces/"),
    ),
    "a start of the search that is not there": (
        {"search": {"start_from": "no/such/distribution.json"}},
        ("no/such/distribution.json: no such file",),
    ),
    "networks shared by devices with supernets of their own": (
        {"fleet": {"share": True}, "search": {"weights": {"learn": True}}},
        ("fleet.share: devices cannot share", "search.weights.learn"),
    ),
    "images the space does not know": ({"data": {"size": 100}}, ("100", "64")),
    "a folder that is not there": (
        {"data": {"source": "folder", "path": "no/such/folder"}},
        ("no/such/folder",),
    ),
    "a signing key that is not there": (
        {"bundle": {"signing_key": "no/such/key.pem"}},
        ("no/such/key.pem: no such key", "openssl ecparam"),
    ),
    "a signing key that is none": (
        {"bundle": {"signing_key": "params.yaml"}},
        ("params.yaml cannot be used as a key", "openssl ecparam"),
    ),
    "a teacher that is not there": (
        {"teacher": {"source": "onnx", "file": "no/such/teacher.onnx"}},
        ("teacher.file:", "no/such/teacher.onnx is no file"),
    ),
    "two mistakes at once": (
        {"supernet": {"epochs": -1.0}, "devices": {"one": {"backend": "tflite"}}},
        ("supernet.epochs", "devices.one.backend"),
    ),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with two devices."""
    return on_digits(copy_repository(tmp_path_factory.mktemp("bad") / "repository"))


@pytest.fixture
def refuse(small: Repository) -> Callable[..., None]:
    """Check that a command is refused before anything starts, with these words."""
    before = (small.root / "params.yaml").read_bytes()

    def check(words: tuple[str, ...], *command: str) -> None:
        code, output = small.netwright(*command)
        (small.root / "params.yaml").write_bytes(before)
        assert code == 2, output
        for word in words:
            assert word in output, output
        assert "Traceback" not in output
        assert len(output.splitlines()) <= 24, "more than one screen"
        assert not (small.root / "artifacts").exists(), "something was started"
        assert not (small.root / "dvc.lock").exists()

    return check


@pytest.mark.parametrize("mistake", PARAMS)
def test_bad_params_are_refused_before_anything_starts(
    mistake: str, small: Repository, refuse: Callable[..., None]
):
    changes, words = PARAMS[mistake]
    small.change(changes)
    refuse(words, "run")


def test_a_folder_with_one_class_is_refused(small: Repository, refuse: Callable[..., None]):
    folder = small.root / "images" / "cats"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "cat.png")
    small.change({"data": {"source": "folder", "path": "images"}})
    refuse(("images", "class"), "run")


def test_an_empty_folder_is_refused(small: Repository, refuse: Callable[..., None]):
    (small.root / "empty").mkdir()
    small.change({"data": {"source": "folder", "path": "empty"}})
    refuse(("empty", "subfolder"), "run")


def test_params_that_are_not_yaml_are_refused(small: Repository, refuse: Callable[..., None]):
    (small.root / "params.yaml").write_text("data: [")
    refuse(("params.yaml is not valid YAML",), "run")


@pytest.mark.parametrize("command", ["run", "status", "doctor"])
def test_every_command_outside_a_repository_says_where_to_run_it(command: str, tmp_path: Path):
    code, output = outside(tmp_path, command)
    assert code == 2
    assert "not a Netwright repository" in output


def outside(folder: Path, command: str) -> tuple[int, str]:
    """Run a command in a folder that is no repository, with this repository's code."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['netwright', {command!r}]"
    child = Repository(folder).start("-c", f"{code}; from pipelines.cli import main; main()")
    output, _ = child.communicate(timeout=60)
    return child.returncode, output


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


def test_a_missing_runtime_says_what_to_install(small: Repository):
    before = (small.root / "params.yaml").read_bytes()
    small.change({"devices": {"edge": {**CPU, "backend": "openvino"}}})
    # An import of it fails as if it were not there.
    code, output = prepared(small, "sys.modules['openvino'] = None")
    (small.root / "params.yaml").write_bytes(before)
    assert code == 2, output
    assert "devices.edge.backend 'openvino': OpenVINO is not installed." in output
    assert "Install it: pip install openvino" in output
    assert "Traceback" not in output
    assert not (small.root / "artifacts").exists(), "something was started"


def test_a_server_of_prefects_that_does_not_answer_is_one_message(small: Repository):
    # Port 9 is nobody's.
    code, output = prepared(small, "os.environ['PREFECT_API_URL'] = 'http://127.0.0.1:9/api'")
    assert code == 1, output
    assert "PREFECT_API_URL=http://127.0.0.1:9/api does not answer" in output
    assert ".netwright/logs/server.log" in output
    assert "Traceback" not in output
    assert not (small.root / "artifacts").exists(), "something was started"


def prepared(repository: Repository, preparation: str) -> tuple[int, str]:
    """`netwright run` after a line of Python that changes what the process finds."""
    program = f"import os, sys; {preparation}; sys.argv = ['netwright', 'run']"
    child = repository.start("-c", f"{program}; from pipelines.cli import main; main()")
    output, _ = child.communicate(timeout=120)
    return child.returncode, output
