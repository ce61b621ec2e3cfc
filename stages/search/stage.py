"""From a trained supernet and a device's latency table to candidate architectures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import data
import devices
import models
from data.dataset import DatasetInfo
from data.stream import TrainStream, eval_batches
from devices.device import Device
from devices.latency import LatencyTable
from models.architecture import Architecture
from models.distribution import SCHEMA as DISTRIBUTION_SCHEMA
from models.distribution import Choices
from models.space import SearchSpace
from models.supernet import Supernet
from models.weights import load_into, to_bytes
from stages.common.budgets import (
    InfeasibleBudgetError,
    Limit,
    limits,
    predicted_costs,
    read_latency_table,
    require_feasible,
)
from stages.common.checkpoint import Checkpoint
from stages.common.device_space import DeviceSpace, device_space
from stages.common.devices import pick_device
from stages.common.files import fingerprint, rounded, write_bytes, write_json
from stages.common.learning import (
    EVAL_BATCH,
    OWN_SUPERNET,
    Images,
    inputs_fingerprint,
    spread,
)
from stages.common.params import read_section
from stages.common.progress import Progress
from stages.common.runtime import prepare_machine
from stages.common.schemas import CANDIDATES, START
from stages.search.algorithms import ALGORITHMS
from stages.search.algorithms.base import Algorithm
from stages.search.evaluation import Evaluate, recalibrated_evaluation, supernet_evaluation
from stages.search.history import history_csv
from stages.search.loop import Row, Snapshot, answer, problem_of, search
from stages.search.params import SearchParams
from stages.search.picture import search_png
from stages.search.problem import bn_indicators
from stages.search.start import Start
from stages.search.weights import SharedWeights, shared_weights


def main() -> None:
    """Parse the flags, search, write candidates, distribution, history and picture."""
    flags = _flags()
    params = read_section(flags.params, "search", SearchParams)
    device = pick_device(flags.params, flags.device)
    prepare_machine(params.threads, params.seed)
    info = DatasetInfo.read(flags.data)
    whole = SearchSpace.load(flags.space, info.image_shape, len(info.classes))
    own = device_space(whole, flags.device, device)
    for remark in own.remarks:
        print(remark)
    space, table = own.space, read_latency_table(flags.profile)
    asked = kept_budgets(space, flags.device, device, table, params.latency_margin)
    say_what_is_left(flags.device, device, table, asked, params)
    supernet = Supernet(whole)  # of which every network of `space` is a slice
    load_into(supernet, flags.supernet / "supernet.safetensors")
    images = Images.open(flags.data)
    read = (flags.space, flags.data, flags.supernet, flags.profile, flags.start)
    code = inputs_fingerprint("search", params, *read, packages=(models, data, devices))
    inputs = fingerprint(code, device.model_dump())
    checkpoint = Checkpoint(flags.out, inputs)
    batch = min(params.batch, len(images.val))
    start = Start.read(flags.start, space.groups, params.start_weight)
    problem = problem_of(space, asked.limits, batch, bn_indicators(supernet, space))
    problem = replace(problem, start=start.distribution)
    searched = ALGORITHMS[params.algorithm](problem, params)
    print(start.said(searched.reads_start) or "starting from the uniform distribution.")
    weights = shared_weights(supernet, images.augmented(params.seed), params)
    judge = evaluation(searched, supernet, images)
    if weights is not None:
        judge = weights.before(judge)
    rows = run(searched, space, judge, checkpoint, weights)
    found = Found(searched, answer(searched), rows)
    write(flags.out, own, found, device, table, asked)
    write_json(flags.out / "start.json", START, start.report(searched.reads_start))
    (flags.out / OWN_SUPERNET).unlink(missing_ok=True)  # of an earlier search, without DVC
    if weights is not None:
        write_bytes(flags.out / OWN_SUPERNET, to_bytes(supernet))
    checkpoint.clear()


def say_what_is_left(
    name: str, device: Device, table: LatencyTable, asked: Asked, params: SearchParams
) -> None:
    """Say which wishes of the device's owner the search cannot keep."""
    if asked.margin is not None and asked.margin < params.latency_margin:
        print(
            f"no architecture leaves search.latency_margin {params.latency_margin:.1%} of the "
            f"latency budget of '{name}' free: searching with {asked.margin:.1%}."
        )
    if device.budget.latency_key is not None and not table.measured:
        print(
            f"'{name}' was not measured on this machine: its latency budget is left to "
            "whoever can measure it."
        )


def evaluation(searched: Algorithm, supernet: Supernet, images: Images) -> Evaluate:
    """How the algorithm's architectures are judged, as it wants them judged."""
    params = searched.params
    if searched.judged == "batch":
        held_out = TrainStream(images.val, images.info, params.batch, params.seed, augment=False)
        return supernet_evaluation(supernet, held_out)
    some = spread(images.val, params.fitness_images)
    return recalibrated_evaluation(
        supernet,
        images.calibration(params.recalibration_batches, params.batch, params.seed),
        list(eval_batches(some, images.info, EVAL_BATCH)),
    )


@dataclass(frozen=True)
class Asked:
    """The budgets a search keeps.

    Attributes:
        limits: one a budget, the margin taken off the latency's.
        margin: fraction of the latency budget left free; None where no latency is limited.
    """

    limits: tuple[Limit, ...]
    margin: float | None


def kept_budgets(
    space: SearchSpace, name: str, device: Device, table: LatencyTable, wished: float
) -> Asked:
    """The device's budgets, with as much of the wished margin as some architecture can leave.

    The margin makes it likelier that the measured latency is within the budget; it never makes a
    budget impossible that an architecture is predicted to meet.

    Args:
        space: the architectures there are.
        name: the device's name, for the message.
        device: whose budgets.
        table: its latency model.
        wished: fraction of the latency budget to leave free.

    Raises:
        InfeasibleBudgetError: the budgets cannot be met without any margin.
    """
    owners = limits(device, table)
    require_feasible(space, name, owners)
    latency = next((limit for limit in owners if limit.key == "latency_ms"), None)
    if latency is None:
        return Asked(owners, None)
    least = latency.cost(latency.cheapest(space))
    # A hair less, so that rounding does not exclude the cheapest architecture itself.
    largest = max(0.0, 1 - least / latency.budget - 1e-9)
    for margin in dict.fromkeys((wished, min(wished, largest))):
        tightened = limits(device, table, margin)
        try:
            require_feasible(space, name, tightened)
        except InfeasibleBudgetError:
            continue
        return Asked(tightened, margin)
    return Asked(owners, 0.0)  # another budget keeps the cheapest architectures out


@dataclass(frozen=True)
class Found:
    """A finished search: the algorithm, its answer (best first), and what it evaluated."""

    algorithm: Algorithm
    answer: list[Choices]
    rows: list[Row]


def run(
    searched: Algorithm,
    space: SearchSpace,
    evaluate: Evaluate,
    checkpoint: Checkpoint,
    weights: SharedWeights | None = None,
) -> list[Row]:
    """Search from the checkpoint on, saving and reporting on the way."""
    params = searched.params
    state = checkpoint.load()
    resume = None if state is None else Snapshot.restored(state)
    if weights is not None and state is not None:
        weights.restore(state["weights"])
    start = 0 if resume is None else int(resume.algorithm["step"])
    with Progress("search", params.steps, start) as progress:

        def after_step(snapshot: Snapshot) -> None:
            step = int(snapshot.algorithm["step"])
            if step % params.checkpoint_every == 0:
                learnt = {} if weights is None else {"weights": weights.state()}
                checkpoint.save(snapshot.state() | learnt)
            progress.update(step, summary(snapshot.rows))

        return search(searched, space.architecture, evaluate, resume, after_step)


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """What the last step's progress line shows."""
    last = [row for row in rows if row.step == rows[-1].step]
    values = [row.value if row.nll is None else row.nll for row in last]
    said = {"value" if last[0].nll is None else "nll": sum(values) / len(values)}
    if last[0].entropy is not None:
        said["entropy"] = last[0].entropy
    return said | {
        "samples": len(rows),
        "over_budget": sum(row.excess for row in last) / len(last),
    }


def write(
    out: Path,
    own: DeviceSpace,
    found: Found,
    device: Device,
    table: LatencyTable,
    asked: Asked,
) -> None:
    """Write the stage's files; equal searches give equal bytes.

    `distribution.json` is there only where the algorithm has one.
    """
    space, costs = own.space, predicted_costs(device, table)
    searched = found.algorithm
    write_json(
        out / "candidates.json",
        CANDIDATES,
        {
            "algorithm": searched.name,
            "space": space.name,
            "left_out": list(own.left_out),
            "candidates": [_candidate(choices, space, searched, costs) for choices in found.answer],
            "latency_margin": rounded(asked.margin),
            "sampled_architectures": searched.samples,
        },
    )
    if searched.distribution is not None:
        saved = searched.distribution.to_json()
        write_json(out / "distribution.json", DISTRIBUTION_SCHEMA, saved)
    write_bytes(out / "history.csv", history_csv(found.rows, space, costs))
    for name, content in searched.artifacts().items():
        write_bytes(out / name, content)
    picture = search_png(found.rows, space, searched, costs, asked.limits)
    write_bytes(out / "search.png", picture)


def _candidate(
    choices: Choices,
    space: SearchSpace,
    searched: Algorithm,
    costs: Callable[[Architecture], dict[str, float | None]],
) -> dict[str, Any]:
    architecture, drawn_from = space.architecture(choices), searched.distribution
    return {
        "architecture": architecture.to_json(),
        "architecture_id": architecture.id,
        "log_probability": None if drawn_from is None else rounded(drawn_from.log_prob(choices)),
        "costs": costs(architecture),
    }


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.search", description=__doc__)
    parser.add_argument("--device", required=True)
    for name in ("params", "space", "data", "supernet", "profile", "start", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()
