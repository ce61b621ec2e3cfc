"""Files that the user put into an output are never deleted."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.checks.outputs import foreign_problems, leftover_notes, mark_ended, mark_started
from pipelines.graph import read_graph
from pipelines.plan import make_plan
from pipelines.run.process import StageProcesses
from tests.support import Netwright, Repository, copy_repository, on_digits


def found(repository: Repository) -> list[str]:
    return foreign_problems(repository.root, make_plan(repository.root))


def put(folder: Path, name: str = "mine.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(name.encode())
    return folder / name


def test_a_file_in_an_output_that_has_never_been_written_is_refused(toy: Repository):
    assert found(toy) == []
    put(toy.root / "out" / "source")
    (problem,) = found(toy)
    assert "no stage wrote out/source/mine.png" in problem
    assert "the stage 'source' replaces that folder" in problem


def test_files_of_a_run_are_recognised_even_without_the_lock_file(toy: Repository):
    code, output = toy.dvc("repro", "source")
    assert code == 0, output
    for lock in ("there", "gone"):
        if lock == "gone":
            (toy.root / "dvc.lock").unlink()
        toy.change({"source": {"text": lock}})
        assert found(toy) == []
    put(toy.root / "out" / "source")
    (problem,) = found(toy)
    assert "out/source/mine.png," in problem


def test_a_link_in_an_output_is_the_users(toy: Repository, tmp_path: Path):
    put(tmp_path / "images")
    (toy.root / "out" / "source").mkdir(parents=True)
    (toy.root / "out" / "source" / "images").symlink_to(tmp_path / "images")
    assert "out/source/images" in found(toy)[0]


def test_files_of_a_stopped_stage_are_recognised_and_later_ones_are_not(toy: Repository):
    stage = read_graph(toy.root)["source"]
    mark_started(toy.root, stage)
    put(toy.root / "out" / "source", "half")
    assert found(toy) == []  # killed: all files count as the stage's
    mark_ended(toy.root, stage, done=False)
    assert found(toy) == []
    put(toy.root / "out" / "source")
    (problem,) = found(toy)
    assert "mine.png," in problem
    assert "half" not in problem
    mark_ended(toy.root, stage, done=True)
    assert "and 1 more" in found(toy)[0]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return on_digits(copy_repository(tmp_path_factory.mktemp("outputs") / "repository"))


@pytest.mark.slow
def test_no_command_loses_images_that_lie_in_an_output(
    repository: Repository, netwright: Netwright
):
    flowers = repository.root / "artifacts" / "raw" / "flowers"
    for name in ("rose", "tulip"):
        (flowers / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(
                flowers / name / f"{number}.png"
            )
    images = sorted(flowers.rglob("*.png"))
    # Next to the downloaded files, and as `data.path`.
    for source, path, command in (
        ("digits", "artifacts/raw", ["run"]),
        ("folder", "artifacts/raw/flowers", ["run", "--device", "one"]),
        ("folder", "artifacts/raw/flowers", ["profile", "one"]),
    ):
        repository.change({"data": {"source": source, "path": path}})
        code, output = netwright(repository.root, *command)
        assert code == 2, output
        assert "artifacts/raw" in output
        assert "to another folder" in " ".join(output.split())
    # Plain `dvc repro` does not delete them either.
    code, output = repository.dvc("repro", "fetch")
    assert code == 0, output
    assert sorted(flowers.rglob("*.png")) == images
    assert (repository.root / "artifacts" / "raw" / "source.json").is_file()


@pytest.mark.slow
def test_a_fetched_folder_that_was_removed_comes_back_without_fetching(toy: Repository):
    file = toy.root / "dvc.yaml"
    text = file.read_text().replace("outs: [out/source]", "outs: [out/source: {persist: true}]")
    file.write_text(text)
    processes = StageProcesses(toy.root, toy.root / "logs", lambda stage, line: None)
    for outcome in ("ran", "fresh"):
        assert processes.run(read_graph(toy.root)["source"]) == outcome
        assert (toy.root / "out" / "source" / "x").read_text() == "hello\n"
        (toy.root / "out" / "source" / "x").unlink()
        (toy.root / "out" / "source").rmdir()
    assert (toy.root / "ran.log").read_text().splitlines() == ["source"]


def test_outputs_of_a_removed_device_are_mentioned(toy: Repository):
    put(toy.root / "out" / "bundle" / "old", "x")
    put(toy.root / "out" / "probe" / "old", "x")
    put(toy.root / "out" / "probe" / "a", "x")
    put(toy.root / "out" / "probe" / ".b.partial", "x")
    (note,) = leftover_notes(toy.root, read_graph(toy.root))
    assert note.startswith("old: no device of params.yaml has this name")
    assert "out/probe/old, out/bundle/old" in note
