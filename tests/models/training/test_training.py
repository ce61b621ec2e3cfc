import copy
import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.errors import UserError
from models.nets.subnet import Subnet
from models.space.space import SearchSpace
from models.training.loop import Recipe, Run, train
from models.training.objective import Mixup, Objective, supervised_step
from models.training.schedule import Schedule


class Example(NamedTuple):
    images_NCHW: Tensor
    labels_N: Tensor
    indices_N: Tensor
    weights_N: Tensor | None = None


def batch_at(step: int) -> Example:
    """Images whose label is the position of a bright bar; a pure function of the step."""
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(0, 5, (16,), generator=generator)
    images = torch.randn(16, 1, 12, 12, generator=generator)
    images[torch.arange(16), 0, 2 * labels] += 3
    return Example(images, labels, torch.arange(16))


RECIPE = Recipe(
    steps=12, learning_rate=0.05, weight_decay=1e-3, ema_decay=0.9, window=5, checkpoint_every=4
)

COLD = Schedule(warmup_fraction=0.0)


@pytest.fixture
def subnet(small: SearchSpace) -> Subnet:
    return Subnet(small.sample(np.random.default_rng(4)), torch.Generator().manual_seed(0))


def everything(run: Run) -> list[Tensor]:
    return [*run.module.state_dict().values(), *run.average]


RECIPES = {
    "sgd": (RECIPE, None),
    "sgd without momentum or average": (
        dataclasses.replace(RECIPE, momentum=0.0, ema_decay=None),
        None,
    ),
    "trapezoid": (dataclasses.replace(RECIPE, schedule=Schedule("trapezoid")), None),
    "adamw with mixup": (
        dataclasses.replace(RECIPE, optimizer="adamw", learning_rate=0.005),
        Mixup(0.4, seed=3),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_resumed_run_ends_with_the_same_bytes(subnet: Subnet, name: str) -> None:
    recipe, mixup = RECIPES[name]
    again = copy.deepcopy(subnet)
    states = []
    whole = Run(subnet, recipe)
    learn = supervised_step(subnet, Objective(5), mixup)
    train(whole, batch_at, learn, save=lambda state: states.append(copy.deepcopy(state)))
    assert [state["step"] for state in states] == [4, 8, 12]
    for state in states:
        resumed = Run(again, recipe)
        resumed.restore(copy.deepcopy(state))
        train(resumed, batch_at, supervised_step(again, Objective(5), mixup))
        pairs = zip(everything(whole), everything(resumed), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert resumed.history == whole.history


def test_training_learns_and_its_history_says_so(subnet: Subnet) -> None:
    run = Run(subnet, Recipe(steps=40, learning_rate=0.05, window=10))
    train(run, batch_at, supervised_step(subnet, Objective(5)))
    assert [row["step"] for row in run.history] == [10, 20, 30, 40]
    assert run.history[-1]["loss"] < 0.5 * run.history[0]["loss"]
    assert run.history[-1]["accuracy"] > 0.9


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    recipe = Recipe(steps=100, learning_rate=0.2)
    rates = [recipe.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == rates[9] == rates[10] == 0.2
    assert rates[55] == pytest.approx(0.1)
    assert 0 < rates[99] < 1e-3
    assert Recipe(steps=1, learning_rate=0.2, schedule=COLD).rate(0) == 0.2


def test_weight_decay_spares_batch_norms_and_biases(subnet: Subnet) -> None:
    run = Run(subnet, RECIPE)
    decays = {id(p): g["weight_decay"] for g in run.optimizer.param_groups for p in g["params"]}
    for module in subnet.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert decays[id(module.weight)] == decays[id(module.bias)] == 0
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert decays[id(module.weight)] == RECIPE.weight_decay


def test_the_average_lies_between_start_and_end(subnet: Subnet) -> None:
    run = Run(subnet, Recipe(steps=1, learning_rate=0.1, schedule=COLD, ema_decay=0.5))
    before = [parameter.detach().clone() for parameter in subnet.parameters()]
    train(run, batch_at, supervised_step(subnet, Objective(5)))
    after = [parameter.detach().clone() for parameter in subnet.parameters()]
    run.use_average()
    for start, end, mean in zip(before, after, subnet.parameters(), strict=True):
        # Warm-up of the average: at step 0 its decay is 1 / 10.
        torch.testing.assert_close(mean.detach(), 0.1 * start + 0.9 * end)


def test_divergence_is_named_with_its_step_and_rate(subnet: Subnet) -> None:
    run = Run(subnet, Recipe(steps=50, learning_rate=1e6, schedule=COLD))
    with pytest.raises(UserError, match=r"diverged at step \d+ of 50.*Lower learning_rate"):
        train(run, batch_at, supervised_step(subnet, Objective(5)))


def test_only_the_chosen_parameters_learn(subnet: Subnet) -> None:
    norms = [p for p in subnet.parameters() if p.dim() == 1]
    before = {name: value.clone() for name, value in subnet.named_parameters()}
    train(Run(subnet, RECIPE, norms), batch_at, supervised_step(subnet, Objective(5)))
    for name, value in subnet.named_parameters():
        assert torch.equal(value, before[name]) == (value.dim() > 1)


def test_distillation_is_cross_entropy_and_softened_divergence_by_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, generator=generator)
    teacher = torch.randn(10, 5, generator=generator)
    batch = Example(torch.empty(0), torch.tensor([0, 1, 2, 3]), torch.tensor([7, 2, 2, 9]))
    loss = Objective(5, 0.0, teacher.numpy(), distill_weight=0.3, temperature=2.0)(logits, batch)
    p = functional.softmax(teacher[batch.indices_N] / 2, 1)
    kl = (p * (p.log() - functional.log_softmax(logits / 2, 1))).sum(1).mean()
    expected = 0.7 * functional.cross_entropy(logits, batch.labels_N) + 0.3 * 4 * kl
    torch.testing.assert_close(loss, expected)
    plain = Objective(5, 0.0, teacher.numpy(), distill_weight=0.0)(logits, batch)
    torch.testing.assert_close(plain, functional.cross_entropy(logits, batch.labels_N))


def test_momentum_is_adamws_first_decay_rate(subnet: Subnet) -> None:
    run = Run(subnet, Recipe(3, 0.01, momentum=0.8, optimizer="adamw"))
    assert {group["betas"] for group in run.optimizer.param_groups} == {(0.8, 0.999)}
