"""No path of the params may lie in an output of a run or contain one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.checks.params import bind_params
from pipelines.checks.paths import path_problems
from tests.support import ROOT, Repository

TABLE = {"file": "tables/phone.csv", "sha256": "0" * 64}


@pytest.fixture
def bare(tmp_path: Path) -> Repository:
    """Only the params, the graph and a folder of images."""
    root = tmp_path / "repository"
    (root / "benchmarks" / "ranking").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", "benchmarks/ranking/dvc.yaml"):
        shutil.copy(ROOT / name, root / name)
    for folder in ("data", "models", "stages", "tables", "images/cats", "artifacts/raw/flowers"):
        (root / folder).mkdir(parents=True)
    repository = Repository(root)
    repository.change({"data": {"source": "folder", "path": "images"}})
    return repository


def problems(repository: Repository, changes: dict[str, Any]) -> list[str]:
    repository.change(changes)
    bound = bind_params(repository.root)
    assert bound.problems == ()
    return path_problems(repository.root, bound.values)


def path(text: str) -> dict[str, Any]:
    return {"data": {"path": text}}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["images", "images/", "../elsewhere", "artifacts/mine", " im;$(x)"]
)
def test_a_folder_of_the_users_own_is_good(name: str, bare: Repository):
    assert problems(bare, path(name)) == []


@pytest.mark.parametrize("name", ["artifacts/raw", "./artifacts/raw/", "images/../artifacts/raw"])
def test_the_output_of_fetch_is_allowed_only_for_downloadable_sources(name: str, bare: Repository):
    assert problems(bare, {"data": {"path": name, "source": "digits"}}) == []
    (problem,) = problems(bare, {"data": {"source": "folder"}})
    assert f"data.path: {name} lies in artifacts/raw" in problem


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (path("artifacts/raw/flowers"), "data.path"),
        (path("images/../artifacts/./raw/flowers"), "data.path"),
        (path("artifacts/profile"), "data.path"),
        (path("artifacts/train/some-device/images"), "data.path"),
        (path("artifacts/choice/share-true"), "data.path"),
        (path(".dvc/images"), "data.path"),
        ({"teacher": {"file": "artifacts/raw/teacher.onnx"}}, "teacher.file"),
        ({"space": {"file": "artifacts/data/space.yaml"}}, "space.file"),
        ({"search": {"start_from": "artifacts/search/x/distribution.json"}}, "search.start_from"),
        ({"signing_key": "artifacts/bundle/key.pem"}, "signing_key"),
        (
            {"devices": {"rtx": {"table": TABLE | {"file": "artifacts/profile/rtx/t.csv"}}}},
            "devices.rtx.table.file",
        ),
    ],
)
def test_a_path_in_an_output_is_refused(changes: dict[str, Any], key: str, bare: Repository):
    (problem,) = problems(bare, changes)
    assert problem.startswith(f"{key}: ")
    assert " lies in " in problem
    assert "to another folder" in problem


@pytest.mark.slow
@pytest.mark.parametrize("name", [".", "artifacts", "..", "/", "images/.."])
def test_a_folder_that_contains_an_output_is_refused(name: str, bare: Repository):
    (problem,) = problems(bare, path(name))
    assert f"data.path: {name} contains artifacts/" in problem


def test_a_link_into_an_output_is_refused(bare: Repository):
    (bare.root / "linked").symlink_to("artifacts/raw/flowers")
    (problem,) = problems(bare, path("linked"))
    assert "data.path: linked lies in artifacts/raw" in problem


def test_artifacts_that_are_a_link_to_the_images_are_refused(bare: Repository):
    shutil.rmtree(bare.root / "artifacts")
    (bare.root / "images" / "raw").mkdir()
    (bare.root / "artifacts").symlink_to("images")
    for name, relation in (("images", "contains"), ("images/raw", "lies in")):
        (problem,) = problems(bare, path(name))
        assert f"data.path: {name} {relation} artifacts/raw" in problem


def test_a_class_that_is_a_link_into_an_output_is_refused(bare: Repository):
    (bare.root / "images" / "dogs").symlink_to(bare.root / "artifacts" / "raw" / "flowers")
    (problem,) = problems(bare, path("images"))
    assert "images/dogs lies in artifacts/raw" in problem


@pytest.mark.slow
def test_an_output_by_another_mount_is_refused(bare: Repository):
    mounted = bare.root.parent / "mounted here"
    mounted.mkdir()
    bind = ["mount", "--bind", str(bare.root / "artifacts" / "raw"), str(mounted)]
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if shutil.which("unshare") is None or subprocess.run([*alone, *bind], check=False).returncode:
        pytest.skip("bind mounts are not permitted on this machine")
    look = (
        "import sys; from pathlib import Path; from pipelines.checks.paths import is_inside; "
        "print([is_inside(Path(a), Path(b)) for a, b in [sys.argv[1:3], sys.argv[3:5]]])"
    )
    raw = str(bare.root / "artifacts" / "raw")
    pairs = [f"{mounted}/flowers", raw, str(bare.root / "images"), raw]
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    inner = ["sh", "-c", script, "sh", raw, str(mounted), sys.executable, "-c", look, *pairs]
    found = subprocess.run([*alone, *inner], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[True, False]"


def test_images_among_the_code_are_refused(bare: Repository):
    (bare.root / "data" / "images").mkdir()
    (problem,) = problems(bare, path("data/images"))
    assert "data.path: data/images lies in data, which is code" in problem


@pytest.mark.parametrize("name", ["~/images", "$HOME/images"])
def test_a_path_with_shell_expansion_has_a_hint(name: str, bare: Repository):
    (problem,) = problems(bare, path(name))
    assert "are not expanded; write /" in problem


@pytest.mark.parametrize(
    ("name", "words"),
    [("a" * 300, "the name is too long"), ("a\0b", "NUL"), ("loop", "cycle")],
)
def test_an_invalid_path_is_named(name: str, words: str, bare: Repository):
    (bare.root / "loop").symlink_to("loop")
    (problem,) = problems(bare, path(name))
    assert problem.startswith("data.path: ")
    assert words in problem
