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
from tests.bundles.forging import unpack


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

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        command = [str(self.python), "-B", "-s", *arguments]
        return subprocess.run(
            command, cwd=cwd or self.folder, env=kept, capture_output=True, text=True, check=False
        )

    def ask(self, code: str) -> str:
        done = self.run("-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def needed(bundle: Path) -> set[str]:
    """Return the distributions that the SBOM marks as required."""
    components = json.loads(read_bundle(bundle).files["sbom.cdx.json"])["components"]
    return {c["name"] for c in components if c.get("scope") == "required"}


@pytest.fixture(scope="session")
def environments(bundles, tmp_path_factory) -> dict[str, Environment]:
    return {
        device: Environment(tmp_path_factory.mktemp(device) / "env", needed(bundles[device]))
        for device in ("cpu", "edge")
    }


@pytest.fixture
def unpacked(bundles, tmp_path):
    return lambda device: unpack(bundles[device], tmp_path / device)


@pytest.mark.parametrize(("device", "runtime"), [("cpu", "onnxruntime"), ("edge", "openvino")])
def test_run_py_checks_and_classifies_with_numpy_and_the_runtime_alone(
    bundles, environments, unpacked, device, runtime
):
    folder, there = unpacked(device), environments[device]
    installed = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
    found = {canonicalize_name(name) for name in there.ask(installed).split()}
    assert found == needed(bundles[device]) >= {"numpy", runtime}
    for arguments in ((), ("verify",)):
        checked = there.run("run.py", *arguments, cwd=folder)
        assert checked.returncode == 0, checked.stderr
        assert checked.stdout.startswith("6 golden outputs within")
    with np.load(folder / "golden.npz") as golden:
        np.save(folder / "image.npy", golden["images"][0])
        expected = str(golden["outputs"][0].argmax())
    done = there.run("run.py", "image.npy", cwd=folder)
    assert done.stdout.split()[1] == expected, done.stderr


@pytest.mark.parametrize("device", ["cpu", "edge"])
@pytest.mark.parametrize("module", ["torch", "PIL", "pydantic", "onnx", "stages", "devices"])
def test_nothing_else_can_be_imported_there(environments, device, module):
    done = environments[device].run("-c", f"import {module}")
    assert f"No module named '{module}'" in done.stderr


def test_without_its_runtime_it_says_what_to_install(environments, unpacked):
    done = environments["cpu"].run("run.py", cwd=unpacked("edge"))
    assert done.returncode == 1
    assert "Install the device's runtime (OpenVINO" in done.stderr
    assert "Traceback" not in done.stderr
