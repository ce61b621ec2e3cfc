"""A training computes where its network is; torch's meta device stands for a GPU."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from data.stream import Batch
from models.nets.evaluate import accuracy, device_of, logits, recalibrate
from models.nets.subnet import Subnet
from models.nets.supernet import Supernet
from models.space.space import SearchSpace
from models.training.loop import Recipe, Run, parts
from models.training.objective import Mixup, Objective, supervised_step
from models.training.strategies import STRATEGIES, Task, build_strategy

META = torch.device("meta")
IMAGES = 6
_MOVES = ("copy", "index")
"""Copies between devices; CUDA tensors can be indexed by tensors in memory."""


class OneDevice(TorchDispatchMode):
    """Raises if an operator gets tensors of two devices, as CUDA's kernels do."""

    def __torch_dispatch__(self, op: Any, _: Any, arguments: Any = (), named: Any = None) -> Any:
        leaves = tree_flatten((arguments, named or {}))[0]
        devices = {x.device.type for x in leaves if isinstance(x, Tensor) and x.dim() > 0}
        if len(devices) > 1 and not any(word in str(op) for word in _MOVES):
            raise RuntimeError(f"{op} of {sorted(devices)}")
        return op(*arguments, **(named or {}))


def batch() -> Batch:
    first, second = torch.randn(2, IMAGES, 1, 12, 12)
    return Batch(first, torch.arange(IMAGES) % 5, torch.arange(IMAGES), second).to(META)


def step(run: Run, learn: Any) -> None:
    """A step without the loss's value, which the meta device does not have."""
    for part in parts(batch(), 2):
        learn(0, part)
    run._path.step(0.1)
    run._update_average()
    if run.companion is not None:
        run.companion.after_step(run._path.touched())


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_step_of_a_strategy_uses_one_device(small: SearchSpace, name: str) -> None:
    supernet = Supernet(small).to(META)
    task = Task(supernet, small, Objective(5), 0, 100)
    strategy = build_strategy(task, STRATEGIES[name].settings_type())
    recipe = Recipe(1, 0.1, ema_decay=0.9, accumulate=2)
    with OneDevice():
        step(Run(supernet, recipe, strategy.trainable(), strategy), strategy.learn)
    assert {tensor.device for tensor in supernet.state_dict().values()} == {META}


@pytest.fixture
def subnet(small: SearchSpace) -> Subnet:
    return Subnet(small.sample(np.random.default_rng(0)))


@pytest.mark.parametrize("mixup", [None, Mixup(0.4, 0)])
def test_a_step_of_a_network_uses_one_device(subnet: Subnet, mixup: Mixup | None) -> None:
    stored_NK = np.zeros((IMAGES, 5), np.float32)
    objective, network = Objective(5, 0.1, stored_NK, 0.5, 2.0), subnet.to(META)
    run = Run(network, Recipe(1, 0.1, ema_decay=0.9, accumulate=2))
    with OneDevice():
        step(run, supervised_step(network, objective, mixup))
        run.use_average()
    assert {tensor.device for tensor in network.state_dict().values()} == {META}


def test_recalibration_moves_the_images() -> None:
    network = nn.Conv2d(1, 2, 1).to(META)  # no batch norm, whose average needs values
    with OneDevice():
        recalibrate(network, [torch.randn(4, 1, 12, 12)])
    with pytest.raises(RuntimeError, match=r"\['cpu', 'meta'\]"), OneDevice():
        network(torch.randn(4, 1, 12, 12))


def test_mixed_devices_are_detected(subnet: Subnet) -> None:
    with pytest.raises(RuntimeError, match=r"convolution.*\['cpu', 'meta'\]"), OneDevice():
        subnet.to(META)(torch.randn(2, 1, 12, 12))


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_a_restored_average_stays_where_the_weights_are(subnet: Subnet) -> None:
    recipe = Recipe(2, 0.1, ema_decay=0.9)
    saved = Run(subnet, recipe).state()
    run = Run(Subnet(subnet.architecture).to(META), recipe)
    run.restore(saved)
    assert {mean.device for mean in run.average} == {META}


def test_a_live_teacher_gets_images_in_memory() -> None:
    objective = Objective(5, distill_weight=0.5, teacher=lambda _: pytest.fail("on the GPU"))
    logits_NK = torch.randn(IMAGES, 5).to(META)
    # The meta device has no values to copy, which shows that they would be copied.
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        objective(logits_NK, batch())


def test_the_device_of_a_model_is_that_of_its_weights(subnet: Subnet) -> None:
    assert device_of(subnet.to(META)) == META
    assert device_of(lambda images_NCHW: images_NCHW) == torch.device("cpu")
    assert device_of(torch.nn.Flatten()) == torch.device("cpu")


def test_evaluation_of_a_function_and_of_a_module_agree(subnet: Subnet) -> None:
    images = [Batch(torch.randn(4, 1, 12, 12), torch.arange(4), torch.arange(4))]
    function = subnet.eval().forward
    assert np.array_equal(logits(subnet, images), logits(function, images))
    assert accuracy(subnet, images) == accuracy(function, images)
