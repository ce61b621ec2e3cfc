"""External teachers, through the stages that use them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.checkpoint import Checkpoint
from core.errors import UserError
from core.settings import ParamsError, bind
from data.dataset import DatasetInfo, read_split
from data.stream import eval_batches
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.nets.evaluate import logits
from models.training.teachers import torchvision
from models.training.teachers.result import StoredTeacher
from models.training.teachers.settings import TeacherParams
from tests.teachers import onnx_file

NAME = "squeezenet1_1"
SETTINGS: dict[str, Any] = {
    "source": {"name": "torchvision", "network": NAME, "input": {"pixels": 17}},
    "epochs": 0.2,
    "batch": 32,
    "learning_rate": 0.05,
    "checkpoint_every": 3,
}


def teach(world, folder: Path, params: Path, file: Path, name: str = "teacher") -> Path:
    return Path(world.run("teacher", folder / name, params=params, file=file))


def asked_again(world, folder: Path) -> np.ndarray:
    """Logits of a folder's teacher for the training images."""
    info, train = DatasetInfo.read(world.root / "data"), read_split(world.root / "data", "train")
    teacher = StoredTeacher.read(folder).record.load(folder, info, 1, OnnxRuntimeSession)
    return logits(teacher, eval_batches(train, info, 50))


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "teacher.json").read_text()))


@pytest.fixture(scope="module", autouse=True)
def trained(supernet: Path) -> None:
    """The supernet that the stage reads."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network for seven classes; the data set has ten."""
    file = tmp_path_factory.mktemp("weights") / "w.pt"
    torch.save(torchvision.build(NAME, 7, seed=1).state_dict(), file)
    return file


def test_an_onnx_network_teaches_as_it_is(world, tmp_path: Path, capsys) -> None:
    params = world.params("onnx", teacher={"source": "onnx"})
    folder = teach(world, tmp_path, params, onnx_file(tmp_path, (1, 1, 8, 8)))
    written = np.load(folder / "train_logits.npy")
    np.testing.assert_array_equal(written, asked_again(world, folder))
    assert summary(folder)["accuracy"]["test"] == pytest.approx(0.1, abs=0.1)  # random weights
    assert summary(folder)["input"] == {"channels": 1, "pixels": 8, "mean": None, "std": None}
    assert summary(folder)["outputs"] == "logits"
    shown = capsys.readouterr().out
    assert "note: the teacher is no better than chance" in shown
    assert "the order of the data set's classes, with '0' first" in shown


def test_a_new_last_layer_learns_and_nothing_else(world, weights: Path, tmp_path: Path) -> None:
    params = world.params("head", teacher={**SETTINGS, "epochs": 0.5})
    folder = teach(world, tmp_path, params, weights)
    before, after = torch.load(weights), load_file(folder / "teacher.safetensors")
    differing = {name for name in before if not torch.equal(before[name], after[name])}
    assert differing == {"classifier.1.weight", "classifier.1.bias"}
    assert summary(folder)["new_layer"] == "classifier.1"
    written = np.load(folder / "train_logits.npy")
    np.testing.assert_allclose(written, asked_again(world, folder), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_fine_tuning_resumes_to_the_same_bytes_although_the_network_has_dropout(
    world, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {**SETTINGS["source"], "fine_tune": True}
    changes = {**SETTINGS, "source": source, "optimizer": "adamw", "learning_rate": 0.001}
    params = world.params("tune", teacher={**changes, "mixup_alpha": 0.2})
    whole = teach(world, tmp_path, params, weights, "whole")
    save = Checkpoint.save

    def last_breath(self: Checkpoint, state: dict[str, Any]) -> None:
        save(self, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", last_breath)
    with pytest.raises(KeyboardInterrupt):
        teach(world, tmp_path, params, weights)
    monkeypatch.undo()
    torch.rand(7)  # a new process has another global generator
    again = teach(world, tmp_path, params, weights)
    assert {f.name for f in whole.iterdir()} == {f.name for f in again.iterdir()}
    for file in whole.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def check(file: Path, source: Any, pixels: int = 8, info: DatasetInfo | None = None) -> None:
    params = bind({"source": source, "file": file.name}, "teacher", TeacherParams)
    params.check(file.parent, pixels, info, OnnxRuntimeSession)


def test_an_onnx_network_of_other_classes_is_refused_once_they_are_known(
    world, tmp_path: Path
) -> None:
    info = DatasetInfo.read(world.root / "data")
    file = onnx_file(tmp_path, classes=7)
    check(file, "onnx")
    with pytest.raises(UserError, match="has 7 classes, but the data set has 10"):
        check(file, "onnx", info=info)


def test_an_onnx_network_of_other_pixels_than_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"8 pixels, but teacher.source.input.pixels is 16"):
        check(onnx_file(tmp_path), {"name": "onnx", "input": {"pixels": 16}})


@pytest.mark.parametrize("source", ["space", "torchvision", "onnx"])
def test_a_missing_file_is_refused_by_name(tmp_path: Path, source: str) -> None:
    with pytest.raises(UserError, match=r"none.pt is not a file. Set it to your teacher's"):
        check(tmp_path / "none.pt", source)


@pytest.mark.parametrize("source", ["torchvision", "onnx"])
def test_the_empty_folder_is_no_teachers_file(tmp_path: Path, source: str) -> None:
    check(tmp_path, "space")
    with pytest.raises(UserError, match=r"is no .* file. Set teacher.file to the path"):
        check(tmp_path, source)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"source": {"name": "torchvision", "network": "resnet19"}},
            "no classifier 'resnet19'. Did you mean 'resnet18'?",
        ),
        (
            {"source": {"name": "onnx", "input": {"mean": [0.5]}}},
            "teacher.source.input: mean and std",
        ),
        ({"source": "timm"}, "unknown source 'timm'. Known: onnx, space, torchvision."),
        ({"source": {"name": "space", "input": {}}}, "teacher.source.input: unknown key"),
        ({"input": {"pixels": 8}}, "teacher.input: moved to teacher.source"),
        ({"optimizer": "adam"}, "'sgd' or 'adamw'"),
        ({"mixup_alpha": -1.0}, "greater than or equal to 0"),
    ],
)
def test_params_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError, match="teacher") as refusal:
        bind(changes, "teacher", TeacherParams)
    assert words in str(refusal.value)
