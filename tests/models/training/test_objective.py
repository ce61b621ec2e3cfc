from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.training.objective import Mixture, Mixup, Objective, supervised_step


class Example(NamedTuple):
    images_NCHW: Tensor
    labels_N: Tensor
    indices_N: Tensor
    second_NCHW: Tensor | None = None
    weights_N: Tensor | None = None


SWAPPED = torch.tensor([1, 0, 3, 2])


@pytest.fixture
def batch() -> Example:
    images = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    return Example(images, torch.tensor([0, 1, 2, 0]), torch.tensor([7, 2, 5, 9]))


def logits(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


def test_mixed_labels_are_a_target_of_mixed_one_hot_rows(batch: Example) -> None:
    mixture, logits_NK = Mixture(0.7, SWAPPED), logits(4, 1)
    one_hot = functional.one_hot(batch.labels_N, 3).float()
    target = 0.7 * one_hot + 0.3 * one_hot[SWAPPED]
    expected = functional.cross_entropy(logits_NK, target, label_smoothing=0.1)
    found = Objective(3, label_smoothing=0.1)(logits_NK, batch, mixture)
    torch.testing.assert_close(found, expected)


def test_cached_soft_labels_of_a_mixture_are_the_mixture_of_both(batch: Example) -> None:
    mixture, logits_NK, teacher = Mixture(0.7, SWAPPED), logits(4, 1), logits(10, 2)
    p = functional.softmax(teacher[batch.indices_N] / 2, 1)
    p = 0.7 * p + 0.3 * p[SWAPPED]
    kl = (p * (p.log() - functional.log_softmax(logits_NK / 2, 1))).sum(1).mean()
    objective = Objective(3, 0.0, teacher.numpy(), distill_weight=1.0, temperature=2.0)
    torch.testing.assert_close(objective(logits_NK, batch, mixture), 4 * kl)


def test_a_live_teacher_receives_the_same_images_as_the_student(batch: Example) -> None:
    shown: dict[str, Tensor] = {}

    def student(images_NCHW: Tensor) -> Tensor:
        shown["student"] = images_NCHW
        return logits(4, 1).requires_grad_()

    def teacher(images_NCHW: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        shown["teacher"] = images_NCHW
        return logits(4, 2)

    objective = Objective(3, distill_weight=1.0, teacher=teacher)
    mixup = Mixup(1.0, seed=0)
    found = supervised_step(student, objective, mixup)(5, batch)
    torch.testing.assert_close(shown["teacher"], shown["student"], rtol=0, atol=0)
    expected = mixup.at(5, 4).blend(batch.images_NCHW)
    torch.testing.assert_close(shown["student"], expected, rtol=0, atol=0)
    p, q = functional.softmax(logits(4, 2), 1), functional.log_softmax(logits(4, 1), 1)
    torch.testing.assert_close(found.loss, (p * (p.log() - q)).sum(1).mean())


def test_a_mixture_is_a_function_of_seed_and_step_and_keeps_most_of_an_image() -> None:
    shares = [Mixup(0.4, 1).at(step, 6).share for step in range(200)]
    assert shares == [Mixup(0.4, 1).at(step, 6).share for step in range(200)]
    assert shares != [Mixup(0.4, 2).at(step, 6).share for step in range(200)]
    assert all(0.5 <= share <= 1 for share in shares)
    drawn = np.random.default_rng(0).beta(0.4, 0.4, 100_000)
    assert np.mean(shares) == pytest.approx(np.maximum(drawn, 1 - drawn).mean(), abs=0.03)


def test_shares_of_a_batch_are_mixed_as_the_whole() -> None:
    images = torch.arange(8.0)[:, None]
    whole = Mixup(0.4, 1).at(3, 8).blend(images)
    halves = [Mixup(0.4, 1).at(3, 4).blend(half) for half in images.chunk(2)]
    assert torch.equal(torch.cat(halves), whole)
    assert Mixup(0.4, 1).at(3, 5).partners_N.tolist() == [1, 0, 3, 2, 4]


def test_weighted_images_count_by_their_weights_and_parts_add_up_to_the_batch(
    batch: Example,
) -> None:
    weights_N = torch.tensor([0.5, 2.0, 1.0, 0.5])
    weighted, logits_NK = batch._replace(weights_N=weights_N), logits(4, 1)
    objective = Objective(3, label_smoothing=0.1)
    losses_N = functional.cross_entropy(
        logits_NK, batch.labels_N, label_smoothing=0.1, reduction="none"
    )
    expected = (losses_N * weights_N).sum() / 4
    torch.testing.assert_close(objective(logits_NK, weighted), expected)
    halves = [Example(*(x if x is None else x[k : k + 2] for x in weighted)) for k in (0, 2)]
    found = [objective(logits_NK[2 * i : 2 * i + 2], half) for i, half in enumerate(halves)]
    torch.testing.assert_close((found[0] + found[1]) / 2, expected)
    swapped = objective(logits_NK, weighted, Mixture(0.0, SWAPPED))
    other = weighted._replace(labels_N=batch.labels_N[SWAPPED], weights_N=weights_N[SWAPPED])
    torch.testing.assert_close(swapped, objective(logits_NK, other))
