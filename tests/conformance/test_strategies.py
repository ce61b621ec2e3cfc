"""One suite over every training strategy of the supernet."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from models.nets.shared_cells import SlicedNorm
from models.nets.supernet import Supernet
from models.training.loop import Recipe, Run, train
from models.training.strategies import STRATEGIES, Strategy
from tests.conformance.strategies import SPACE, STREAM, first_batch, make, run_of, same, trained

every = pytest.mark.parametrize("name", sorted(STRATEGIES))


@pytest.mark.slow
@every
def test_a_run_resumed_anywhere_ends_with_the_same_bytes(name: str) -> None:
    strategy, states = make(name), []
    whole = run_of(strategy, 5)
    train(
        whole,
        lambda step: STREAM.at(step, strategy.views),
        strategy.learn,
        save=lambda state: states.append(copy.deepcopy(state)),
    )
    for state in states[:-1]:
        again = make(name, seed=0)
        resumed = run_of(again, 5)
        resumed.restore(copy.deepcopy(state))
        train(resumed, lambda step: STREAM.at(step, again.views), again.learn)  # noqa: B023
        assert same(resumed.state(), whole.state())


@every
def test_the_same_seed_repeats_and_another_does_not(name: str) -> None:
    first, second, other = (trained(make(name, seed), 3) for seed in (0, 0, 1))
    assert same(first.state(), second.state())
    assert not same(first.module.state_dict(), other.module.state_dict())


@every
def test_paths_are_a_pure_function_of_the_step_and_of_the_space(name: str) -> None:
    strategy, again = make(name), make(name)
    walked = [strategy.paths(step) for step in range(8)]
    assert [again.paths(step) for step in reversed(range(8))] == walked[::-1]
    assert len(set(walked)) > 1
    for paths in walked:
        assert all(SPACE.architecture(SPACE.choices(path)) == path for path in paths)


@every
def test_the_supernet_keeps_its_names_and_shapes(name: str) -> None:
    plain = Supernet(SPACE).state_dict()
    found = trained(make(name), 2).module.state_dict()
    assert {n: v.shape for n, v in found.items()} == {n: v.shape for n, v in plain.items()}
    assert all(value.dtype == plain[n].dtype for n, value in found.items())


def learnt(strategy: Strategy) -> list[float]:
    """Training losses in windows of 6 steps, without the first."""
    run = Run(strategy.supernet, Recipe(90, 0.1, window=6), strategy.trainable(), strategy)
    train(run, lambda step: STREAM.at(step, strategy.views), strategy.learn)
    return [row["loss"] for row in run.history][1:]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in sorted(STRATEGIES) if make(name).classifies])
def test_strategies_that_read_labels_learn_them(name: str) -> None:
    losses = learnt(make(name))
    assert np.mean(losses[-3:]) < 0.85 * np.mean(losses[:2])


@pytest.mark.slow
def test_without_labels_representations_do_not_collapse() -> None:
    strategy = make("pi")
    chance = np.log(1 + len(strategy.queue_QD))
    assert max(learnt(strategy)[-3:]) < chance - 0.5
    similar = strategy.queue_QD @ strategy.queue_QD.T
    assert float(similar.mean()) < 0.9  # all the same would be 1


@every
def test_only_parameters_of_sampled_paths_change(name: str) -> None:
    strategy = make(name)
    before = {n: p.detach().clone() for n, p in strategy.supernet.named_parameters()}
    used: set[str] = set()
    for path in strategy.paths(0):
        probe = Supernet(SPACE).train()
        probe(first_batch(strategy).images_NCHW, path).sum().backward()
        used |= {n for n, p in probe.named_parameters() if p.grad is not None}
    trained(strategy, 1)
    moved = {n for n, p in strategy.supernet.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert moved <= used
    assert len(used) < len(before) or name == "fair"


@every
def test_momentum_exists_only_for_what_was_touched(name: str) -> None:
    strategy = make(name)
    run = run_of(strategy, 3)
    learners = len(run.parameters)
    run.advance(lambda step: STREAM.at(step, strategy.views), strategy.learn)
    touched = run.optimizer.state_dict()["state"]
    assert len(touched) > 0
    assert len(touched) < learners or name == "fair"


@every
def test_half_precision_computes_and_keeps_float32_weights(name: str) -> None:
    strategy = make(name, precision=torch.bfloat16)
    run = trained(strategy, 3)
    assert all(np.isfinite(row["loss"]) for row in run.history)
    assert {p.dtype for p in strategy.supernet.parameters()} == {torch.float32}
    exact = trained(make(name), 3)
    assert run.history != exact.history
    assert run.history[0]["loss"] == pytest.approx(exact.history[0]["loss"], rel=0.05)


@every
def test_accumulated_parts_give_the_undivided_step(name: str) -> None:
    """With fixed statistics, because batch norms see one part at a time."""
    gradients = []
    for count in (1, 4):
        strategy = make(name)
        for module in [strategy.supernet, *vars(strategy).values()]:
            for norm in module.modules() if isinstance(module, nn.Module) else ():
                if isinstance(norm, SlicedNorm):
                    norm.eval()  # normalise by the running statistics
        run = run_of(strategy, 1, accumulate=count)
        run.advance(lambda step: STREAM.at(step, strategy.views), strategy.learn)  # noqa: B023
        gradients.append({n: p.grad for n, p in strategy.supernet.named_parameters()})
    whole, divided = gradients
    assert [n for n in whole if whole[n] is None] == [n for n in divided if divided[n] is None]
    for name_, gradient in whole.items():
        if gradient is not None:
            torch.testing.assert_close(divided[name_], gradient, rtol=1e-4, atol=1e-6)
