"""No text of params.yaml reaches a shell, also if DVC runs without `netwright`."""

import numpy as np
import pytest
from PIL import Image

from tests.support import Netwright, Repository, copy_repository, on_digits

DO = "touch pwned"
NAMES = f"im;{DO} $({DO}) `{DO}` \"q\" 's' [b] {{x}} ${{data.size}} &|<>#%\\n\n{DO}\n"


@pytest.fixture
def repository(tmp_path) -> Repository:
    """A repository in a folder whose name has shell metacharacters too."""
    return on_digits(copy_repository(tmp_path / f"re po;{DO} $({DO}) 'q"))


def images_in(folder) -> None:
    rng = np.random.default_rng(0)
    for label in ("a b", "c;d"):
        (folder / label).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 255, (8, 8), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number} $(x);.png")


@pytest.mark.slow
def test_a_folder_of_any_name_is_read_and_runs_nothing(
    repository: Repository, netwright: Netwright
):
    images_in(repository.root / NAMES)
    repository.change({"data": {"source": "folder", "path": NAMES}})
    code, output = repository.dvc("repro", "prepare")
    assert code == 0, output
    assert (repository.root / "artifacts" / "data" / "dataset.json").is_file()
    assert NAMES in [dep["path"] for dep in repository.locked["prepare"]["deps"]]
    assert not list(repository.root.rglob("pwned"))
    code, output = netwright(repository.root, "status")
    assert code == 0, output
    (row,) = (line for line in output.splitlines() if line.startswith("prepare "))
    assert row.split() == ["prepare", "fresh"]


@pytest.mark.slow
def test_names_of_devices_and_numbers_run_nothing(repository: Repository, netwright: Netwright):
    bad = f"x;{DO}\n{DO}"
    device = repository.params["devices"]["one"]
    repository.change({"devices": {"one": ..., "rtx": ...}})
    repository.change(
        {
            "devices": {bad: device},
            "data": {"size": f"16\n{DO}"},
            "fleet": {"share": f";{DO}\n{DO}"},
        }
    )
    for stage in ("prepare", f"profile@{bad}", f"train@{bad}"):
        code, _ = repository.dvc("repro", "--single-item", "--force", stage)
        assert code != 0
    assert not list(repository.root.rglob("pwned"))
    code, output = netwright(repository.root, "run")
    assert code == 2, output
    assert "a device's name has only lower-case letters" in output
