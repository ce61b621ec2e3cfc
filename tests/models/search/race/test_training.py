"""Real trainings of a small network: rungs continue one run, which is the final training."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.checkpoint import Checkpoint
from core.errors import UserError
from models.nets.subnet import shrink_and_perturb
from models.nets.supernet import Supernet, extract
from models.nets.weights import load_into, to_bytes
from models.search.race import training
from models.search.race.training import Finished, Job, World, advance
from models.space.architecture import Architecture
from models.training.history import History
from models.training.learning import Images
from models.training.network import train_network
from models.training.objective import Objective
from models.training.settings import TrainParams
from tests.spaces import architecture_at

STEPS = 8


@pytest.fixture(scope="module")
def trainings(world: Any) -> World:
    """Digits, a supernet that was not trained, and a random teacher."""
    images, supernet = Images.read(world.root / "data"), Supernet(world.space)
    load_into(supernet, world.root / "supernet" / "supernet.safetensors")
    logits_NK = np.random.default_rng(0).normal(size=(len(images.train), 10)).astype(np.float32)
    params = TrainParams(
        epochs=0.01, min_steps=STEPS, batch=32, ema_decay=0.9, slice_share=0.5, mixup_alpha=0.4,
        recalibration_batches=2, checkpoint_every=3, learning_rate=0.05,
    )  # fmt: skip
    objective = Objective(10, 0.1, logits_NK, params.distill_weight, params.temperature)
    return World(images, supernet, objective, params)


@pytest.fixture(scope="module")
def network(world: Any) -> Architecture:
    return architecture_at(world.space, 5)


@pytest.fixture(scope="module")
def straight(trainings: World, network: Architecture) -> Finished:
    """The whole training in one job."""
    return advance(trainings, Job(network, 0, STEPS))


def equal_states(first: bytes, second: bytes) -> bool:
    """Whether two runs are in the same state; their archives may differ in time stamps."""
    one, other = (torch.load(io.BytesIO(x), weights_only=True) for x in (first, second))
    leaves = [torch.utils._pytree.tree_flatten(state) for state in (one, other)]
    assert leaves[0][1] == leaves[1][1]
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(leaves[0][0], leaves[1][0], strict=True)
    )


def test_rungs_continue_to_the_bytes_of_the_whole_training(
    trainings: World, network: Architecture, straight: Finished
) -> None:
    state, standings = None, []
    for begin, until in ((0, 2), (2, 4), (4, STEPS)):
        found = advance(trainings, Job(network, 0, until, begin, state))
        state = found.state
        standings.append(found.standing)
    assert found.weights == straight.weights
    assert found.standing == straight.standing
    assert found.history == straight.history
    assert equal_states(found.state, straight.state)
    assert [one.steps for one in standings] == [2, 4, STEPS]
    assert len({one.nll for one in standings}) == 3
    assert standings[0].indicators == standings[1].indicators == straight.standing.indicators


def test_the_last_rung_is_the_final_training(
    trainings: World, network: Architecture, straight: Finished, tmp_path: Path
) -> None:
    params, supernet = trainings.params, trainings.supernet
    slice_ = extract(supernet.train(), network)
    generator = torch.Generator().manual_seed(params.seed)
    shrink_and_perturb(slice_, params.slice_share, generator)
    checkpoint = Checkpoint(tmp_path / "out", "inputs")
    run = train_network(slice_, trainings.images, trainings.objective, params, checkpoint)
    assert to_bytes(slice_) == straight.weights
    assert History.of(run) == straight.history
    found = trainings.images.accuracy(slice_, "val")
    assert found == straight.standing.accuracy


def test_the_world_is_not_changed(world: Any, trainings: World, network: Architecture) -> None:
    before = hashlib.sha256(to_bytes(trainings.supernet)).hexdigest()
    first = advance(trainings, Job(network, 0, 2))
    advance(trainings, Job(architecture_at(world.space, 77), 0, 2))
    assert advance(trainings, Job(network, 0, 2)).weights == first.weights
    assert hashlib.sha256(to_bytes(trainings.supernet)).hexdigest() == before


def test_a_repeat_has_another_seed(trainings: World, network: Architecture) -> None:
    first, again = (advance(trainings, Job(network, repeat, 2)) for repeat in (0, 1))
    assert first.weights != again.weights
    assert first.standing.indicators == again.standing.indicators
    assert again.weights == advance(trainings, Job(network, 1, 2)).weights


def test_a_job_continues_from_a_checkpoint_within_its_rung(
    trainings: World,
    network: Architecture,
    straight: Finished,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save = tmp_path / "network" / "checkpoint.pt"
    advance(trainings, Job(network, 0, 7, save=save))  # checkpoints after 3 and 6 steps
    assert torch.load(save, weights_only=True)["step"] == 6
    begun: list[int] = []
    train = training.train

    def watched(run: Any, *arguments: Any, **more: Any) -> None:
        begun.append(run.step)
        train(run, *arguments, **more)

    monkeypatch.setattr(training, "train", watched)
    job = Job(network, 0, STEPS, save=save)
    assert advance(trainings, job).weights == straight.weights
    # A checkpoint beyond the rung is of no use for it.
    assert advance(trainings, replace(job, until=4)).standing.steps == 4
    assert begun == [6, 0]


def test_a_checkpoint_beyond_the_state_is_preferred(
    trainings: World, network: Architecture, straight: Finished, tmp_path: Path
) -> None:
    save = tmp_path / "checkpoint.pt"
    rung = advance(trainings, Job(network, 0, 4))
    advance(trainings, Job(network, 0, 7, 4, rung.state, save))
    found = advance(trainings, Job(network, 0, STEPS, 4, rung.state, save))
    assert found.weights == straight.weights
    # And one from before the rung is not.
    advance(trainings, Job(network, 0, 3, save=save))
    found = advance(trainings, Job(network, 0, STEPS, 4, rung.state, save))
    assert found.weights == straight.weights


def test_known_indicators_are_kept(trainings: World, network: Architecture) -> None:
    found = advance(trainings, Job(network, 0, 1, indicators={"supernet_accuracy": 0.25}))
    assert found.standing.indicators == {"supernet_accuracy": 0.25}


def test_a_training_that_diverges_names_its_network(
    trainings: World, network: Architecture
) -> None:
    params = trainings.params.model_copy(update={"learning_rate": 1e6})
    with pytest.raises(UserError, match=rf"network {network.id}: training diverged at step"):
        advance(replace(trainings, params=params), Job(network, 0, STEPS))
