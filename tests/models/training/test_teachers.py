"""External teachers: invalid files, and input preprocessing."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from core.errors import UserError
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.training.teachers import torchvision
from models.training.teachers.onnx import OnnxTeacher
from models.training.teachers.torchvision import TorchvisionSource
from models.training.teachers.view import TeacherInput, View
from tests.teachers import onnx_file

NAME = "squeezenet1_1"
SOURCE = TorchvisionSource(network=NAME)


def view(have: int, channels: int, pixels: int | None = None, *normalisation: Any) -> View:
    """From images of `have` channels with mean 0.5 and deviation 0.25."""
    wanted = dict(zip(("mean", "std"), normalisation, strict=False))
    return View(
        (0.5,) * have, (0.25,) * have, TeacherInput(channels=channels, pixels=pixels, **wanted)
    )


def linear(images_NCHW: torch.Tensor) -> torch.Tensor:
    weights = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    return images_NCHW.flatten(1) @ torch.from_numpy(weights)


@pytest.mark.parametrize("images", ["n", 1, 4], ids=["any batch", "one image", "four images"])
def test_an_onnx_teacher_answers_batches_of_any_size(tmp_path: Path, images: Any) -> None:
    teacher = OnnxTeacher(onnx_file(tmp_path, (images, 1, 8, 8)), 1, OnnxRuntimeSession)
    x = torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(teacher(x), linear(x), rtol=1e-4, atol=1e-4)


def test_probabilities_become_logits_with_the_same_softmax(tmp_path: Path) -> None:
    teacher = OnnxTeacher(onnx_file(tmp_path, last="Softmax"), 1, OnnxRuntimeSession)
    x = 0.1 * torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert teacher.gives_probabilities
    torch.testing.assert_close(teacher(x).softmax(1), linear(x).softmax(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "none.onnx", "is no ONNX file. Set teacher.file"),
        (lambda folder: _written(folder / "x.onnx", b"not a network"), "cannot load"),
        (lambda folder: onnx_file(folder, (1, 64)), r"\(images, channels, height, width\)"),
        (lambda folder: onnx_file(folder, (1, 1, 4, 16)), "4 by 16 pixels; they must be square"),
    ],
)
def test_an_onnx_file_that_cannot_teach_is_refused(tmp_path: Path, make: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        OnnxTeacher(make(tmp_path), 1, OnnxRuntimeSession)


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    model = onnx.load(onnx_file(tmp_path))
    onnx.save(
        model,
        tmp_path / "apart.onnx",
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    with pytest.raises(UserError, match="save it as a single file"):
        OnnxTeacher(tmp_path / "apart.onnx", 1, OnnxRuntimeSession)


def test_a_network_of_the_same_classes_is_taken_as_it_is(tmp_path: Path) -> None:
    original = torchvision.build(NAME, 10, seed=1)
    save_file(original.state_dict(), tmp_path / "w.safetensors")
    torch.save(original.state_dict(), tmp_path / "w.pt")
    for file in ("w.safetensors", "w.pt"):
        loaded = torchvision.load(NAME, 10, tmp_path / file, seed=2)
        assert loaded.fresh_layer is None
        found, wanted = loaded.network.state_dict(), original.state_dict()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_last_layer_for_other_classes_alone_is_replaced(tmp_path: Path) -> None:
    original = torchvision.build(NAME, 1000, seed=1)
    torch.save(original.state_dict(), tmp_path / "w.pt")
    loaded = torchvision.load(NAME, 10, tmp_path / "w.pt", seed=2)
    assert loaded.fresh_layer == "classifier.1"
    found, wanted = loaded.network.state_dict(), original.state_dict()
    differing = {name for name in wanted if not torch.equal(found[name], wanted[name])}
    assert differing == {"classifier.1.weight", "classifier.1.bias"}
    assert loaded.network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


def test_a_file_with_code_in_it_is_refused_and_its_code_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": _Trap()}, "trap.pt")
    with pytest.raises(UserError, match="more than tensors"):
        torchvision.load(NAME, 10, tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"weight": torch.zeros(3)},
            r"does not match torchvision's 'squeezenet1_1'.*unknown \(weight",
        ),
        ({}, "no state dict of tensors"),
        ({"epoch": 3}, "no state dict of tensors"),
    ],
)
def test_weights_of_something_else_are_refused(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match=words):
        SOURCE.check(tmp_path / "w.pt", 32, None, OnnxRuntimeSession)


def test_another_width_is_no_other_number_of_classes(tmp_path: Path) -> None:
    state = torchvision.build(NAME, 10, seed=1).state_dict()
    state["classifier.1.weight"] = torch.zeros(10, 256, 1, 1)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UserError, match="in more than the classes"):
        torchvision.load(NAME, 10, tmp_path / "w.pt")


def test_images_that_are_too_small_are_refused_without_running(tmp_path: Path) -> None:
    torch.save(torchvision.build(NAME, 10, seed=1).state_dict(), tmp_path / "w.pt")
    SOURCE.check(tmp_path / "w.pt", 32, None, OnnxRuntimeSession)
    with pytest.raises(UserError, match=r"4 by 4 pixels.*Set teacher.source.input.pixels"):
        SOURCE.check(tmp_path / "w.pt", 4, None, OnnxRuntimeSession)


def test_building_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    torchvision.build(NAME, 10, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_view_undoes_one_normalisation_and_does_another() -> None:
    pixels = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    found = view(1, 3, None, mean, std)((pixels - 0.5) / 0.25)
    for channel in range(3):
        expected = (pixels[:, 0] - mean[channel]) / std[channel]
        torch.testing.assert_close(found[:, channel], expected)


def test_a_view_without_numbers_leaves_the_normalisation_and_repeats_grey() -> None:
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(view(1, 1)(images), images)
    grey = view(1, 3)(images)
    torch.testing.assert_close(grey, images.expand(-1, 3, -1, -1))


def test_a_view_resizes_and_turns_colours_to_grey() -> None:
    white = (torch.ones(1, 3, 8, 8) - 0.5) / 0.25
    found = view(3, 1, 16, (0.0,), (1.0,))(white)
    torch.testing.assert_close(found, torch.ones(1, 1, 16, 16))


@pytest.mark.parametrize(
    ("channels", "mean", "words"),
    [
        (4, None, "expects 4 channels and the images have 3"),
        (1, None, "teacher.source.input.mean and std"),
        (3, (0.5,), "need 3 numbers"),
    ],
)
def test_a_view_that_cannot_be_is_refused(channels: int, mean: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        view(3, channels, None, mean, mean)


def _written(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file
