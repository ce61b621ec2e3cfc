"""What each training strategy promises of its own."""

from collections import Counter
from typing import Any

import pytest
import torch

from models.nets.supernet import Supernet, candidate_name
from models.space.costs import block_flops
from models.training.objective import Objective
from models.training.strategies.pi import PiSettings
from models.training.strategies.sandwich import SandwichSettings
from tests.conformance.strategies import (
    BATCH,
    IMAGES,
    SPACE,
    STREAM,
    first_batch,
    make,
    same,
    trained,
)


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
