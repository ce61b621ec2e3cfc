"""What the user put into an output is never emptied away."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.graph import read_graph, stale
from pipelines.leftovers import leftover_notes
from pipelines.outputs import begin, ended, foreign_problems
from tests.support import Repository, copy_repository, on_digits


def found(repository: Repository) -> list[str]:
    graph = read_graph(repository.root)
    return foreign_problems(repository.root, graph, stale(repository.root, graph))


def put(folder: Path, name: str = "mine.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(name.encode())
    return folder / name


def test_a_file_in_an_output_that_has_never_been_written_is_refused(toy: Repository):
    assert found(toy) == []
    put(toy.root / "out" / "source")
    (problem,) = found(toy)
    assert "no stage wrote out/source/mine.png" in problem
    assert "the stage 'source' writes that folder anew" in problem


def test_what_a_run_wrote_is_its_own_even_where_the_lock_file_is_gone(toy: Repository):
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


def test_what_a_stopped_stage_left_is_its_own_and_what_came_after_is_not(toy: Repository):
    stage = read_graph(toy.root)["source"]
    begin(toy.root, stage)
    put(toy.root / "out" / "source", "half")
    assert found(toy) == []  # killed: nothing more is known
    ended(toy.root, stage, done=False)
    assert found(toy) == []
    put(toy.root / "out" / "source")
    (problem,) = found(toy)
    assert "mine.png," in problem
    assert "half" not in problem
    ended(toy.root, stage, done=True)
    assert "and 1 more" in found(toy)[0]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return on_digits(copy_repository(tmp_path_factory.mktemp("outputs") / "repository"))


def test_no_command_loses_images_that_lie_in_an_output(repository: Repository):
    flowers = repository.root / "artifacts" / "raw" / "flowers"
    for name in ("rose", "tulip"):
        (flowers / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(
                flowers / name / f"{number}.png"
            )
    images = sorted(flowers.rglob("*.png"))
    # Beside what is fetched, and named by the params.
    for source, path, command in (
        ("digits", "artifacts/raw", ["run"]),
        ("folder", "artifacts/raw/flowers", ["run", "--device", "one"]),
        ("folder", "artifacts/raw/flowers", ["profile", "one"]),
    ):
        repository.change({"data": {"source": source, "path": path}})
        code, output = repository.netwright(*command)
        assert code == 2, output
        assert "artifacts/raw" in output
        assert "a folder of" in " ".join(output.split())
    # Without us, DVC itself empties the outputs of the stages it runs.
    code, output = repository.dvc("repro", "fetch")
    assert code == 0, output
    assert sorted(flowers.rglob("*.png")) == images
    assert (repository.root / "artifacts" / "raw" / "source.json").is_file()


def test_a_fetched_folder_that_was_removed_comes_back_without_fetching(toy: Repository):
    file = toy.root / "dvc.yaml"
    text = file.read_text().replace("outs: [out/source]", "outs: [out/source: {persist: true}]")
    file.write_text(text)
    program = (
        "import sys; from pathlib import Path; from pipelines.graph import read_graph; "
        "from pipelines.process import StageProcesses; root = Path.cwd(); "
        "processes = StageProcesses(root, root / 'logs', lambda stage, line: None); "
        "print(processes.run(read_graph(root)['source']))"
    )
    for said in ("ran", "fresh"):
        child = toy.start("-c", f"import sys; sys.path.insert(0, {str(CODE)!r}); {program}")
        output, _ = child.communicate(timeout=100)
        assert output.splitlines()[-1] == said, output
        assert (toy.root / "out" / "source" / "x").read_text() == "hello\n"
        (toy.root / "out" / "source" / "x").unlink()
        (toy.root / "out" / "source").rmdir()
    assert (toy.root / "ran.log").read_text().splitlines() == ["source"]


def test_what_was_made_for_a_device_that_is_gone_is_mentioned(toy: Repository):
    put(toy.root / "out" / "bundle" / "old", "x")
    put(toy.root / "out" / "probe" / "old", "x")
    put(toy.root / "out" / "probe" / "a", "x")
    put(toy.root / "out" / "probe" / ".b.partial", "x")
    (note,) = leftover_notes(toy.root, read_graph(toy.root))
    assert note.startswith("old: no device of params.yaml has this name")
    assert "out/probe/old, out/bundle/old" in note


CODE = Path(__file__).resolve().parents[2]
