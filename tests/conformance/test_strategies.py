"""One suite over every training strategy of the supernet."""

import copy
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from data.dataset import Augment, DatasetInfo, Split
from data.stream import Batch, TrainStream
from models.nets.shared_cells import SlicedNorm
from models.nets.supernet import Supernet
from models.space.costs import block_flops
from models.space.space import SearchSpace
from models.space.spec import SpaceSpec
from models.training.loop import Recipe, Run, train
from models.training.objective import Objective
from models.training.strategies import STRATEGIES, Strategy, Task, build_strategy
from models.training.strategies.pi import PiSettings
from models.training.strategies.sandwich import SandwichSettings

SPEC = {
    "name": "tiny",
    "sizes": (8, 64),
    "stem": {"operator": "conv", "channels": 8, "stride": 1, "settings": {"kernel": 3}},
    "stages": [
        {
            "layers": 2,
            "stride": 2,
            "channels": [8, 12, 16],
            "skip": True,
            "operators": {"mbconv": {"kernel": [3, 5], "expansion": [1, 2]}},
        }
    ],
    "head": {"operator": "classifier", "settings": {"width": 32}},
}
SPACE = SearchSpace(SpaceSpec.model_validate(SPEC), (1, 8, 8), 5)
INFO = DatasetInfo(
    name="bars",
    image_shape=(1, 8, 8),
    classes=tuple("abcde"),
    mean=(0.2,),
    std=(0.3,),
    counts={},
    augment=Augment(flip=False, shift=1),
    fit="crop",
    source={},
    arrays={},
)
IMAGES, BATCH = 160, 16


def bars() -> Split:
    """Noise with a bright bar at a random position; its height is the label."""
    rng = np.random.default_rng(0)
    labels_N = rng.integers(0, 5, IMAGES)
    images_NHWC = rng.integers(0, 120, (IMAGES, 8, 8, 1), dtype=np.uint8)
    for image_HWC, label in zip(images_NHWC, labels_N, strict=True):
        image_HWC[1 : 2 + label] = 255
    return Split(images_NHWC, labels_N)


STREAM = TrainStream(bars(), INFO, BATCH, seed=0, augment=True)


def make(name: str, seed: int = 0, **changes: Any) -> Strategy:
    supernet = Supernet(SPACE, torch.Generator().manual_seed(seed)).train()
    task = Task(supernet, SPACE, Objective(5), seed, IMAGES, **changes)
    return build_strategy(task, STRATEGIES[name].settings_type())


def run_of(strategy: Strategy, steps: int, **changes: Any) -> Run:
    recipe = Recipe(steps, 0.05, weight_decay=1e-3, window=3, checkpoint_every=1, **changes)
    return Run(strategy.supernet, recipe, strategy.trainable(), strategy)


def trained(strategy: Strategy, steps: int, **changes: Any) -> Run:
    run = run_of(strategy, steps, **changes)
    train(run, lambda step: STREAM.at(step, strategy.views), strategy.learn)
    return run


def same(one: Any, other: Any) -> bool:
    """Whether two nested states are the same, bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def first_batch(strategy: Strategy) -> Batch:
    return STREAM.at(0, strategy.views)


every = pytest.mark.parametrize("name", sorted(STRATEGIES))


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


@pytest.mark.parametrize("name", [name for name in sorted(STRATEGIES) if make(name).classifies])
def test_strategies_that_read_labels_learn_them(name: str) -> None:
    losses = learnt(make(name))
    assert np.mean(losses[-3:]) < 0.85 * np.mean(losses[:2])


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


def test_fair_uses_every_option_of_a_full_group_once_a_step() -> None:
    strategy = make("fair")
    most = max(len(group.candidates) for group in SPACE.groups)
    for step in range(6):
        chosen = [SPACE.choices(path) for path in strategy.paths(step)]
        assert len(chosen) == most
        # Choices are read back from the present layers.
        for number, group in enumerate(SPACE.groups):
            if len(group.candidates) == most:
                assert sorted(row[number] for row in chosen) == list(range(most))


def test_fair_uses_options_of_smaller_groups_equally_over_time() -> None:
    """The first group has 3 widths and a step 5 architectures: counts never differ by 2."""
    strategy, counts = make("fair"), Counter[int]()
    assert len(SPACE.groups[0].candidates) == 3
    for step in range(30):
        for path in strategy.paths(step):
            counts[SPACE.choices(path)[0]] += 1
            assert max(counts.values()) - min(counts[option] for option in range(3)) <= 1
    assert set(counts.values()) == {50}


def test_fair_gradients_are_the_mean_over_its_paths() -> None:
    strategy = make("fair")
    strategy.learn(0, first_batch(strategy))
    found = strategy.supernet.positions[0]["conv"].cells["conv"].weight.grad
    alone = []
    for path in strategy.paths(0):
        supernet = make("fair").supernet
        Objective(5)(supernet(first_batch(strategy).images_NCHW, path), STREAM.at(0)).backward()
        alone.append(supernet.positions[0]["conv"].cells["conv"].weight.grad)
    torch.testing.assert_close(found, torch.stack(alone).mean(0), rtol=1e-4, atol=1e-6)


def test_sandwich_trains_the_extremes_and_random_ones() -> None:
    largest, smallest, *others = make("sandwich").paths(3)
    assert largest == SPACE.extreme(block_flops, largest=True)
    assert smallest == SPACE.extreme(block_flops)
    assert len(others) == 2


def test_in_sandwich_labels_reach_the_largest_alone() -> None:
    """Gradients of the others do not depend on labels if the teacher is fixed."""
    strategy = make("sandwich")
    _, smallest, *_ = strategy.paths(0)
    batch = first_batch(strategy)
    private = [
        f"norms.{name}" for name in private_norms(smallest, strategy.paths(0)[0], strategy.supernet)
    ]
    found = []
    for labels_N in (batch.labels_N, (batch.labels_N + 1) % 5):
        again = make("sandwich")
        again.learn(0, batch._replace(labels_N=labels_N))
        grads = {n: p.grad for n, p in again.supernet.named_parameters() if p.grad is not None}
        found.append({n: g for n, g in grads.items() if any(key in n for key in private)})
    assert found[0]
    assert same(found[0], found[1])


def private_norms(path: Any, other: Any, supernet: Supernet) -> set[str]:
    """Candidates' names that a path uses in the searched layers and another does not."""
    from models.nets.supernet import candidate_name

    def names(architecture: Any) -> set[str]:
        return {candidate_name(b) for b in architecture.blocks[1:-1] if b is not None}

    return names(path) - names(other)


def test_bn_only_computes_no_gradient_of_a_convolution() -> None:
    strategy = make("bn_only")
    kernels = {n: p for n, p in strategy.supernet.named_parameters() if p.dim() == 4}
    before = {n: p.detach().clone() for n, p in kernels.items()}
    run = trained(strategy, 2)
    assert all(p.grad is None and not p.requires_grad for p in kernels.values())
    assert all(torch.equal(p, before[n]) for n, p in kernels.items())
    optimised = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    assert not optimised & {id(p) for p in kernels.values()}


def test_bn_only_moves_scales_and_the_last_layer() -> None:
    strategy = make("bn_only")
    before = {n: p.detach().clone() for n, p in strategy.supernet.named_parameters()}
    trained(strategy, 3)
    moved = {n for n, p in strategy.supernet.named_parameters() if not torch.equal(p, before[n])}
    assert any("norms" in n for n in moved)
    assert {n for n in moved if "norms" not in n} == {
        "positions.3.classifier.cells.linear.weight",
        "positions.3.classifier.cells.linear.bias",
    }


def test_pi_takes_two_different_paths() -> None:
    strategy = make("pi")
    assert all(len(set(strategy.paths(step))) == 2 for step in range(50))


def test_pi_reads_no_label_unless_configured() -> None:
    strategy, other = make("pi"), make("pi")
    batch = first_batch(strategy)
    strategy.learn(0, batch)
    other.learn(0, batch._replace(labels_N=torch.zeros_like(batch.labels_N)))
    grads = [[p.grad for p in s.trainable() if p.grad is not None] for s in (strategy, other)]
    assert same(*grads)
    assert not strategy.classifies
    assert strategy.supernet.positions[-1]["classifier"].cells["linear"].weight.grad is None


def test_pi_predicts_the_other_path_symmetrically() -> None:
    """The loss is the mean InfoNCE of q0 against k1 and of q1 against k0."""
    strategy = make("pi")
    batch, paths = first_batch(strategy), strategy.paths(0)
    fresh = make("pi")
    views = (batch.images_NCHW, batch.second_NCHW)
    with torch.no_grad():
        queries = [
            fresh.student.projection(fresh.forward_path(fresh.supernet, view, path).features_NC)
            for view, path in zip(views, paths, strict=True)
        ]
    # At first the teacher is the student, so the keys are the queries.
    expected = 0.0
    for query_ND, key_ND in ((queries[0], queries[1]), (queries[1], queries[0])):
        scores = torch.cat([(query_ND * key_ND).sum(1)[:, None], query_ND @ fresh.queue_QD.T], 1)
        log_share_N = (scores / 0.2).log_softmax(1)[:, 0]
        expected -= 0.5 * float(log_share_N.mean())
    assert float(strategy.learn(0, batch).loss) == pytest.approx(expected, rel=1e-5)


def test_pi_updates_the_teacher_slowly_and_only_on_sampled_paths() -> None:
    strategy = make("pi")
    before = {n: p.clone() for n, p in strategy.teacher.named_parameters()}
    trained(strategy, 1)
    student = dict(strategy.student.named_parameters())
    moved = {n for n, p in strategy.teacher.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n, p in student.items() if p.grad is not None} - unmoved(student, before)
    for n in moved:
        decay = 2 / 11  # after one step, as decay is lower in the first steps
        expected = before[n].lerp(student[n].detach(), 1 - decay)
        torch.testing.assert_close(dict(strategy.teacher.named_parameters())[n], expected)


def unmoved(student: dict[str, Any], before: dict[str, Any]) -> set[str]:
    return {n for n, p in student.items() if torch.equal(p, before[n])}


def test_pi_puts_the_mean_of_both_keys_into_the_queue_in_turn() -> None:
    strategy = make("pi")
    assert len(strategy.queue_QD) == IMAGES // 2
    fresh = strategy.queue_QD.clone()
    trained(strategy, 2)
    changed = (strategy.queue_QD != fresh).any(1)
    assert changed.tolist() == [True] * (2 * BATCH) + [False] * (IMAGES // 2 - 2 * BATCH)
    torch.testing.assert_close(strategy.queue_QD.norm(dim=1), torch.ones(IMAGES // 2))
    trained(strategy, 5)
    assert strategy.oldest == (7 * BATCH) % (IMAGES // 2)


def test_settings_have_the_papers_values_by_default() -> None:
    pi, sandwich = PiSettings(), SandwichSettings()
    assert (pi.temperature, pi.dimensions, pi.teacher_decay) == (0.2, 128, 0.999)
    assert pi.supervised_weight == 0
    assert sandwich.random_networks == 2
