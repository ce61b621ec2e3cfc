"""torchvision's own code gives the same logits as the largest network of the space."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchvision.models import mobilenet_v2, resnet18

from core.errors import UserError
from models.nets.pretrained import torchvision as source
from models.nets.pretrained.match import start_from
from models.nets.supernet import Supernet
from models.space.costs import block_flops
from models.space.file import PRESETS
from models.space.space import SearchSpace

SPACE = SearchSpace.load(PRESETS / "mobilenet-v2.yaml", (3, 64, 64), 7)


def randomised(network: nn.Module) -> nn.Module:
    """A network whose scales and statistics are at no initial value."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    tensor.add_(torch.rand(tensor.shape, generator=generator) / 2)
    return network.eval()


@torch.no_grad()
def test_the_largest_network_gives_torchvisions_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = randomised(mobilenet_v2(weights=None, num_classes=7))
    file = tmp_path / "mobilenet_v2.pth"
    torch.save(original.state_dict(), file)
    weights = source.TorchvisionStart().read(file)
    supernet = Supernet(SPACE, torch.Generator().manual_seed(0)).eval()
    report = start_from(supernet, SPACE, weights, source.MEAN, source.STD)
    assert report.whole == report.tensors
    assert report.unused == ()
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    logits, wanted = supernet(images, SPACE.extreme(block_flops, largest=True)), original(images)
    assert wanted.abs().max() > 0.05
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_the_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), file)
    with pytest.raises(UserError, match=r"resnet18.pth has the weights of another network"):
        source.TorchvisionStart().read(file)
    with pytest.raises(UserError, match=r"Set supernet.file to the path of the weights"):
        source.TorchvisionStart().read(tmp_path / "nothing.pth")


def test_a_network_that_no_space_can_express_is_refused() -> None:
    with pytest.raises(ValidationError, match="mobilenet_v2"):
        source.TorchvisionStart(network="resnet18")  # type: ignore[arg-type]
