"""One answer of the whole way, from a supernet of its own to the winner of a race; one random one.

All networks start from fresh weights and learn from labels alone, so that a random network's
training depends on no supernet and no teacher.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.harness.flags import PARAMS
from benchmarks.harness.release import search_settings, settings
from benchmarks.harness.runs import Row
from core.checkpoint import Checkpoint
from core.files import fingerprint
from data.stream import eval_batches
from devices.device import Budget, Device
from devices.fleet.members import Member
from devices.fleet.proposals import contests, guided
from models.nets.subnet import Subnet
from models.nets.supernet import Supernet
from models.nets.weights import load_into
from models.search.algorithms import ALGORITHMS
from models.search.candidates import Candidate
from models.search.evaluation import common_evaluation, evaluation
from models.search.loop import answer, run_search
from models.search.problem import bn_indicators, problem_of
from models.search.race.ledger import Recipe
from models.search.race.race import Listener, Race, Runner
from models.search.race.settings import RaceParams
from models.search.race.simple import band_samples
from models.search.race.store import Store
from models.search.race.training import Finished, Job, Standing, World, advance
from models.search.rank.indicators import Evidence
from models.search.rank.scores import evaluate_candidates
from models.search.rank.settings import RankParams
from models.space.architecture import Architecture
from models.space.costs import flops, parameters
from models.space.limits import Limit
from models.space.space import SearchSpace
from models.training.learning import Images, spread
from models.training.objective import Objective
from models.training.settings import TrainParams
from models.training.supernet.settings import SupernetParams
from models.training.supernet.training import train_supernet

NAME = "budget"
"""The device's: it has a budget of multiply-accumulates and no latency."""


@dataclass(frozen=True)
class Setting:
    """What all answers share.

    Attributes:
        budget: multiply-accumulates.
        epochs: of a whole training.
        supernet_epochs: of a supernet's training.
        steps: of the search.
        race: candidates and rungs.
        rank_images: validation images that a slice is ranked on.
        work: folder of states.
    """

    images: Images
    space: SearchSpace
    budget: int
    epochs: float
    supernet_epochs: float
    steps: int
    race: RaceParams
    rank_images: int
    work: Path

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The budget."""
        return (Limit("flops", float(self.budget), flops),)

    def recipe(self, seed: int) -> TrainParams:
        """Of every network's training."""
        return settings(
            PARAMS,
            "train",
            TrainParams,
            epochs=self.epochs,
            min_steps=1,
            slice_share=0.0,
            distill_weight=0.0,
            seed=seed,
        )


def random_answer(setting: Setting, seed: int, network: Architecture) -> Row:
    """A random network of the band, trained to the end and evaluated at every rung."""
    world = _world(setting, Supernet(setting.space), seed)
    store = Store(setting.work / f"random-{seed}", "states")
    found: dict[int, Standing] = {}
    for until in setting.race.steps(world.steps):
        known = store.standing(network, 0, until)
        if known is None:
            job = replace(store.job(network, 0, until), indicators={})
            finished = advance(world, job)
            store.add(job, finished)
            known = finished.standing
        found[until] = known
    row = _trained(network, ["random"], found)
    return {**row, "test_accuracy": _test_accuracy(setting, store, network, world.steps)}


def raced_answer(setting: Setting, seed: int) -> Row:
    """The answer of one independent search and race."""
    folder = setting.work / f"search-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    supernet = _supernet(setting, seed, folder)
    ranked = _ranked(setting, seed, supernet, folder)
    member = Member(
        name=NAME,
        device=Device(
            backend="onnxruntime", budget=Budget(flops=setting.budget), min_accuracy=0.01
        ),
        space=setting.space,
        limits=setting.limits,
        costs=_costs,
        ranked=tuple(ranked),
        indicator="supernet_log_likelihood",
        distribution=None,
    )
    world = _world(setting, supernet, seed)
    params = setting.race.model_copy(update={"seed": seed})
    recipe = Recipe(data="", training=str(seed), steps=world.steps)
    store, propose = Store(folder / "race", "states"), guided([member], params, recipe)

    def execute(jobs: Sequence[Job], listen: Listener) -> Iterator[tuple[int, Finished]]:
        for number, job in enumerate(jobs):
            yield number, advance(world, replace(job, indicators={}))

    found = Runner(params, store, execute, recipe, None, propose).run(
        contests([member], params, None)
    )
    contest = found.contests[0]
    winner = found.winner(contest).architecture
    return {
        **_row(found, winner),
        "test_accuracy": _test_accuracy(setting, store, winner, world.steps),
        "networks": [_row(found, network) for network in contest.networks],
        "steps": sum(max(steps) for steps in found.standings.values()),
        "whole": world.steps,
    }


def _world(setting: Setting, supernet: Supernet, seed: int) -> World:
    params = setting.recipe(seed)
    objective = Objective(len(setting.images.classes), params.label_smoothing)
    return World(setting.images, supernet, objective, params)


def _supernet(setting: Setting, seed: int, folder: Path) -> Supernet:
    """A supernet of its own; resumable."""
    params = settings(
        PARAMS,
        "supernet",
        SupernetParams,
        epochs=setting.supernet_epochs,
        min_steps=1,
        seed=seed,
    )
    checkpoint = Checkpoint(folder / "supernet", fingerprint(params.model_dump()))
    supernet, _, _ = train_supernet(setting.space, setting.images, params, checkpoint)
    return supernet


def _ranked(setting: Setting, seed: int, supernet: Supernet, folder: Path) -> list[Architecture]:
    """The search's candidates, ranked as the stage `rank` does; resumable."""
    images, space = setting.images, setting.space
    params = search_settings(PARAMS, "fp_nas", seed, steps=setting.steps)
    batch = min(params.batch, len(images.val))
    problem = problem_of(space, setting.limits, batch, bn_indicators(supernet, space))
    algorithm = ALGORITHMS["fp_nas"](problem, params)
    evaluate = evaluation(algorithm, supernet, images)
    judge = common_evaluation(params, supernet, images)
    inputs = fingerprint(params.model_dump(), seed)
    run_search(algorithm, space, evaluate, judge, Checkpoint(folder / "search", inputs))
    rank = settings(PARAMS, "rank", RankParams)
    evidence = Evidence(
        supernet,
        images.calibration(rank.recalibration_batches, rank.batch, seed),
        list(eval_batches(spread(images.val, setting.rank_images), images.info, rank.batch)),
    )
    networks = [space.architecture(choices) for choices in answer(algorithm)]
    candidates = [
        Candidate(architecture=one, architecture_id=one.id, log_probability=None, costs={})
        for one in networks
    ]
    ranked = evaluate_candidates(candidates, evidence, rank, Checkpoint(folder / "rank", inputs))
    return [one.candidate.architecture for one in ranked]


def _costs(network: Architecture) -> dict[str, float | None]:
    return {"latency_ms": None, "flops": flops(network), "parameters": parameters(network)}


def _row(race: Race, network: Architecture) -> Row:
    """A network of a race, with its accuracies by steps."""
    origins = race.contests[0].origins(network)
    return _trained(network, origins, race.standings[network.id, 0])


def _trained(
    network: Architecture, origins: Sequence[str], standings: Mapping[int, Standing]
) -> Row:
    return {
        "architecture_id": network.id,
        "short": network.short(),
        "origins": list(origins),
        "flops": int(flops(network)),
        "val_accuracy": {str(steps): one.accuracy for steps, one in standings.items()},
        "nll": {str(steps): one.nll for steps, one in standings.items()},
    }


def _test_accuracy(setting: Setting, store: Store, network: Architecture, steps: int) -> float:
    """On all test images, which decided nothing."""
    subnet = Subnet(network)
    load_into(subnet, store.folder(network, 0) / f"{steps}.safetensors")
    return setting.images.accuracy(subnet, "test")


def draw_random(setting: Setting, count: int, seed: int) -> list[Architecture]:
    """Uniformly random networks of the band."""
    rng = np.random.default_rng([seed, 1])
    return band_samples(setting.space, setting.limits, rng, count, setting.race.band)
