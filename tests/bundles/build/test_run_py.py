"""`run.py` in an environment with only the packages listed in the SBOM.

The environment is a real one of its own, whose packages are links to the files of exactly those
distributions: no index is asked, and nothing else can be imported there.
"""

import importlib.metadata
import json
import os
import subprocess
import venv
from pathlib import Path

import numpy as np
import pytest
from packaging.utils import canonicalize_name

from bundles.read import read_bundle
from models.quality.metrics import probabilities
from tests.bundles.forging import thorough, unpack


class Environment:
    """A virtual environment with links to some distributions of this one."""

    def __init__(self, folder: Path, distributions: set[str]) -> None:
        venv.create(folder, system_site_packages=False, symlinks=True, with_pip=False)
        self.folder, self.python = folder, folder / "bin" / "python"
        self.packages = Path(self.ask("import sysconfig; print(sysconfig.get_path('purelib'))"))
        for name in distributions:
            self.link(name)

    def link(self, name: str) -> None:
        """Link every installed file of a distribution except scripts and bytecode."""
        for file in importlib.metadata.files(name) or []:
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            target = self.packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(Path(str(file.locate())))

    def run(
        self, *arguments: str, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        command = [str(self.python), "-B", "-s", *arguments]
        return subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=kept | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def ask(self, code: str) -> str:
        done = self.run("-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def needed(bundle: Path) -> set[str]:
    """Return the distributions that the SBOM marks as required."""
    components = json.loads(read_bundle(bundle).files["sbom.cdx.json"])["components"]
    return {c["name"] for c in components if c.get("scope") == "required"}


@pytest.fixture(scope="module")
def environments(bundles, tmp_path_factory) -> dict[str, Environment]:
    return {
        device: Environment(tmp_path_factory.mktemp(device) / "env", needed(bundles[device]))
        for device in ("cpu", "edge")
    }


@pytest.mark.parametrize(("device", "runtime"), [("cpu", "onnxruntime"), ("edge", "openvino")])
def test_it_checks_and_classifies_with_numpy_and_the_runtime_alone(
    bundles, environments, tmp_path, device, runtime
):
    folder, there = unpack(bundles[device], tmp_path), environments[device]
    installed = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
    found = {canonicalize_name(name) for name in there.ask(installed).split()}
    assert found == needed(bundles[device]) >= {"numpy", runtime}
    for arguments in ((), ("verify",)):
        checked = there.run("run.py", *arguments, cwd=folder)
        assert checked.returncode == 0, checked.stderr
        assert checked.stdout.startswith("6 golden outputs within")
    with np.load(folder / "golden.npz") as golden:
        expected = [str(k) for k in golden["outputs"].argmax(1)]
        for index, image_HWC in enumerate(golden["images"]):
            np.save(folder / f"{index}.npy", image_HWC)
    done = there.run("run.py", *[f"{index}.npy" for index in range(6)], cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == expected


@pytest.mark.parametrize("device", ["cpu", "edge"])
def test_it_answers_like_predict_and_is_unsure_below_a_confidence(
    bundles, environments, tmp_path, device
):
    folder, there = unpack(bundles[device], tmp_path), environments[device]
    quality, files = json.loads((folder / "quality.json").read_text()), []
    with np.load(folder / "golden.npz") as golden:
        shares_NK = probabilities(golden["outputs"], quality["temperature"])
        for index, image_HWC in enumerate(golden["images"]):
            np.save(folder / f"{index}.npy", image_HWC)
            files.append(f"{index}.npy")
    least = float(np.sort(shares_NK.max(1))[2:4].mean())
    done = there.run("run.py", "--min-confidence", f"{least:.6f}", *files, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "validation images are answered" in done.stderr
    rows = [line.split()[1:] for line in done.stdout.splitlines()]
    assert [name for name, _ in rows] == [
        str(row_K.argmax()) if row_K.max() >= least else "unsure" for row_K in shares_NK
    ]
    assert [name for name, _ in rows].count("unsure") == 3
    for (_, share), row_K in zip(rows, shares_NK, strict=True):
        assert float(share) == pytest.approx(row_K.max(), abs=2e-3)
    refused = there.run("run.py", "--min-confidence", "2", *files, cwd=folder)
    assert (refused.returncode, refused.stdout) == (2, "")


@pytest.mark.parametrize("device", ["cpu", "edge"])
def test_nothing_else_can_be_imported_there(environments, device):
    for module in ("torch", "PIL", "pydantic", "onnx", "stages", "devices"):
        done = environments[device].run("-c", f"import {module}")
        assert f"No module named '{module}'" in done.stderr


def test_without_its_runtime_it_says_what_to_install(bundles, environments, tmp_path):
    done = environments["cpu"].run("run.py", cwd=unpack(bundles["edge"], tmp_path))
    assert done.returncode == 1
    assert "Install the device's runtime (OpenVINO" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_gpu_it_suggests_the_portable_file(bundles, environments, tmp_path):
    folder = unpack(bundles["gpu"], tmp_path)
    refused = environments["cpu"].run("run.py", cwd=folder)
    assert refused.returncode == 1
    assert "--portable" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = environments["cpu"].run("run.py", "--portable", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_a_label_that_the_terminal_cannot_encode_is_printed(bundles, environments, tmp_path):
    def with_apples(content, files):
        labels = json.loads(files["labels.json"])
        labels["labels"] = [f"\U0001f34e{label}" for label in labels["labels"]]
        files["labels.json"] = json.dumps(labels).encode()

    (tmp_path / "apples.tar.gz").write_bytes(thorough(bundles["cpu"], with_apples))
    folder = unpack(tmp_path / "apples.tar.gz", tmp_path / "apples")
    with np.load(folder / "golden.npz") as golden:
        np.save(folder / "0.npy", golden["images"][0])
    done = environments["cpu"].run("run.py", "0.npy", cwd=folder, PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0.npy: \\U0001f34e")


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
def test_invalid_input_is_refused_with_a_message(bundles, environments, tmp_path, spoil, message):
    folder = unpack(bundles["cpu"], tmp_path)
    spoil(folder)
    images = ["x.npy"] if (folder / "x.npy").exists() else []
    done = environments["cpu"].run("run.py", *images, cwd=folder)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
