"""`run.py` of a bundle, without access to this repository; see also test_isolated.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bundles.forging import thorough, unpack

BLOCK = """
import importlib.abc, sys
class Guard(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {banned!r}:
            raise ImportError(f"{{name}} is blocked in this test")
sys.meta_path.insert(0, Guard())
import runpy
sys.argv = ["run.py", *sys.argv[1:]]
runpy.run_path("run.py", run_name="__main__")
"""
BANNED = {"torch", "PIL", "sklearn", "scipy", "pydantic", "stages", "devices", "data", "models"}


def run_alone(folder: Path, *arguments: str):
    """Run a bundle's run.py without access to this repository; see also test_isolated.py."""
    code = BLOCK.format(banned=BANNED)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )


def test_run_py_classifies_arrays(bundles, tmp_path):
    folder = unpack(bundles["cpu"], tmp_path)
    with np.load(folder / "golden.npz") as golden:
        expected = [str(k) for k in golden["outputs"].argmax(1)]
        for index, image_HWC in enumerate(golden["images"]):
            np.save(folder / f"{index}.npy", image_HWC)
    done = run_alone(folder, *[f"{index}.npy" for index in range(6)])
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == expected


def test_run_py_prints_a_label_that_the_terminal_cannot_encode(bundles, tmp_path, monkeypatch):
    def with_apples(content, files):
        labels = json.loads(files["labels.json"])
        labels["labels"] = [f"\U0001f34e{label}" for label in labels["labels"]]
        files["labels.json"] = json.dumps(labels).encode()

    (tmp_path / "apples.tar.gz").write_bytes(thorough(bundles["cpu"], with_apples))
    folder = unpack(tmp_path / "apples.tar.gz", tmp_path / "apples")
    with np.load(folder / "golden.npz") as golden:
        np.save(folder / "0.npy", golden["images"][0])
    monkeypatch.setenv("PYTHONIOENCODING", "ascii:strict")
    done = run_alone(folder, "0.npy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0.npy: \\U0001f34e")


def test_run_py_without_a_gpu_suggests_the_portable_file(bundles, tmp_path):
    folder = unpack(bundles["gpu"], tmp_path)
    refused = run_alone(folder)
    assert refused.returncode == 1
    assert "--portable" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = run_alone(folder, "--portable")
    assert done.returncode == 0, done.stderr


def edit_manifest(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_text(file.read_text().replace('"threads": 1', '"threads": 2'))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "labels.json").write_text("{}"), "labels.json is not the file"),
        (lambda folder: np.save(folder / "x.npy", np.zeros((5, 5, 1), np.uint8)), "must be uint8"),
        (edit_manifest, "manifest.json was changed"),
    ],
    ids=["changed file", "wrong shape", "edited manifest"],
)
def test_run_py_refuses_invalid_input_with_a_message(bundles, tmp_path, spoil, message):
    folder = unpack(bundles["cpu"], tmp_path)
    spoil(folder)
    done = run_alone(folder, *(["x.npy"] if (folder / "x.npy").exists() else []))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
