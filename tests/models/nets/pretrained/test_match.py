"""Weights are copied into other spaces by names, and the report says which."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import UserError
from data.dataset import DatasetInfo
from models.nets.pretrained.efficientnet_lite0 import EfficientNetLite0
from models.nets.pretrained.match import StartReport, start_from
from models.nets.pretrained.supernet import SupernetFile, note_of
from models.nets.supernet import SUPERNET_FILE, Supernet
from models.nets.weights import to_bytes
from models.space.costs import block_flops
from models.space.file import PRESETS
from models.space.space import SearchSpace
from models.training.supernet.settings import SupernetParams
from tests.models.conftest import SMALL
from tests.worlds import write_digits

MEAN, STD = (0.3,), (0.4,)


def load(folder: Path, text: str, classes: int = 5) -> SearchSpace:
    file = folder / "other.yaml"
    file.write_text(text)
    return SearchSpace.load(file, (1, 12, 12), classes)


def fresh(space: SearchSpace, seed: int) -> Supernet:
    return Supernet(space, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def trained(small: SearchSpace) -> Supernet:
    """A supernet whose every tensor is at no initial value."""
    supernet = fresh(small, 0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in supernet.state_dict().values():
            tensor.add_(torch.rand(tensor.shape, generator=generator) / 4)
    return supernet


@pytest.fixture(scope="module")
def file(trained: Supernet, small: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file in a folder, as the stage writes it."""
    folder = tmp_path_factory.mktemp("supernet")
    write_digits(folder / "data", zoom=1, std=STD[0], shift=0)
    info = DatasetInfo.read(folder / "data").model_copy(update={"mean": MEAN, "std": STD})
    content = to_bytes(trained, note_of(trained, small, info))
    (folder / SUPERNET_FILE).write_bytes(content)
    return folder


def started(
    space: SearchSpace, file: Path, std: tuple[float, ...] = STD
) -> tuple[Supernet, StartReport]:
    supernet = fresh(space, 7).eval()
    return supernet, start_from(supernet, space, SupernetFile().read(file), MEAN, std)


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 1, 12, 12, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def test_the_same_space_takes_everything(trained: Supernet, small: SearchSpace, file: Path) -> None:
    supernet, report = started(small, file)
    assert report.whole == report.tensors == len(trained.state_dict())
    assert report.unused == ()
    architecture = small.sample(np.random.default_rng(3))
    assert torch.equal(supernet(images(), architecture), trained(images(), architecture))


@torch.no_grad()
def test_a_greyscale_supernet_reads_the_mean_of_the_colours(
    trained: Supernet, small: SearchSpace, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    colour = SearchSpace.load(tmp_path / "small.yaml", (3, 12, 12), small.classes)
    supernet = fresh(colour, 7).eval()
    start_from(supernet, colour, SupernetFile().read(file), MEAN * 3, STD * 3)
    architecture, grey = colour.sample(np.random.default_rng(3)), images()
    rows = small.architecture(colour.choices(architecture))
    found = supernet(grey.expand(-1, 3, -1, -1), architecture)
    torch.testing.assert_close(found, trained(grey, rows), rtol=1e-4, atol=1e-5)
    params = SupernetParams.model_validate({"start_from": "supernet", "file": "."})
    params.check_start(file, colour)


@torch.no_grad()
def test_images_of_another_normalisation_give_the_same_logits(
    trained: Supernet, small: SearchSpace, file: Path
) -> None:
    supernet, _ = started(small, file, std=(0.2,))
    architecture = small.sample(np.random.default_rng(3))
    again = supernet(images() * (STD[0] / 0.2), architecture)
    torch.testing.assert_close(again, trained(images(), architecture), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_narrower_space_takes_the_first_channels(
    trained: Supernet, small: SearchSpace, file: Path, tmp_path: Path
) -> None:
    text = SMALL.replace("[8, 12]", "[8]").replace("[16, 20, 24]", "[16]")
    space = load(tmp_path, text.replace("kernel: [3, 5, 7]", "kernel: [3]"))
    supernet, report = started(space, file)
    assert report.whole == report.tensors
    assert any("kernel7" in name for name in report.unused)
    architecture = space.extreme(block_flops)
    assert small.choices(architecture)  # it is in both
    assert torch.equal(supernet(images(), architecture), trained(images(), architecture))


@torch.no_grad()
def test_a_larger_kernel_computes_the_same_until_it_is_trained(
    trained: Supernet, file: Path, tmp_path: Path
) -> None:
    text = SMALL.replace("mbconv: {kernel: [3, 5], ", "mbconv: {kernel: [3, 5, 7], ")
    space = load(tmp_path, text)
    supernet, report = started(space, file)
    assert report.whole == report.tensors
    wide = next(
        a
        for a in (space.sample(np.random.default_rng(seed)) for seed in range(200))
        if any(b and b.options.get("kernel") == 7 and b.out_channels >= 16 for b in a.layers)
    )
    assert torch.isfinite(supernet(images(), wide)).all()
    name = "positions.3.mbconv.cells.depthwise.weight"
    weight, source = supernet.state_dict()[name], trained.state_dict()[name]
    assert torch.equal(weight[..., 1:-1, 1:-1], source)
    assert weight[..., 0, :].abs().max() == weight[..., :, -1].abs().max() == 0


def test_a_wider_and_deeper_space_reports_what_is_random(file: Path, tmp_path: Path) -> None:
    text = SMALL.replace("[16, 20, 24]", "[16, 32]").replace("layers: 2,", "layers: 3,")
    _, report = started(load(tmp_path, text, classes=6), file)
    assert any(name.startswith("stage1.layer3.") for name in report.random)
    assert "head.classifier.linear.weight" in report.random
    assert "stage2.layer1.mbconv.project.weight" in report.partly
    assert f"{report.whole} of {report.tensors} tensors copied" in report.describe()
    assert "random (stage1.layer3" in report.describe()


def test_weights_of_another_kind_of_space_are_refused_with_the_way_out() -> None:
    space = SearchSpace.load(PRESETS / "compact.yaml", (3, 64, 64), 10)
    weights = EfficientNetLite0().read(Path())
    with pytest.raises(
        UserError, match=r"efficientnet_lite0.*does not fit space 'compact'.*space.file"
    ):
        start_from(fresh(space, 0), space, weights, (0.5,) * 3, (0.5,) * 3)


def test_a_file_that_is_no_supernet_of_ours_is_refused(tmp_path: Path, trained: Supernet) -> None:
    with pytest.raises(UserError, match=r"does not exist. Copy the supernet.safetensors"):
        SupernetFile().read(tmp_path)
    plain = tmp_path / "plain.safetensors"
    plain.write_bytes(to_bytes(trained))
    with pytest.raises(UserError, match=r"no note of its places, mean, std"):
        SupernetFile().read(plain)
    plain.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a valid safetensors file"):
        SupernetFile().read(plain)
