"""Search candidate architectures with a trained supernet and a device's latency table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.checkpoint import Checkpoint, inputs_fingerprint
from core.files import fingerprint, rounded, write_bytes, write_json
from core.process import prepare_machine
from core.progress import Progress
from core.schemas import CANDIDATES, START
from core.settings import read_section
from data.dataset import DatasetInfo
from data.stream import TrainStream, eval_batches
from devices.device import Device
from devices.fleet.read import pick_device
from devices.latency.budgets import limits, predicted_costs, read_latency_table
from devices.latency.device_space import DeviceSpace, device_space
from devices.latency.table import LatencyTable
from models.nets.supernet import SUPERNET_FILE, Supernet
from models.nets.weights import load_into, to_bytes
from models.search.algorithms import ALGORITHMS
from models.search.algorithms.base import Algorithm
from models.search.evaluation import Evaluate, recalibrated_evaluation, supernet_evaluation
from models.search.history import history_csv
from models.search.loop import Row, Snapshot, answer, problem_of, search
from models.search.picture import search_png
from models.search.problem import bn_indicators
from models.search.settings import SearchParams
from models.search.start import Start
from models.search.weights import SharedWeights, shared_weights
from models.space.architecture import Architecture
from models.space.distribution import SCHEMA as DISTRIBUTION_SCHEMA
from models.space.distribution import Choices
from models.space.limits import InfeasibleBudgetError, Limit, require_feasible
from models.space.space import SearchSpace
from models.training.learning import EVAL_BATCH, Images, spread


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
    budgets = search_budgets(space, flags.device, device, table, params.latency_margin)
    print_relaxed_budgets(flags.device, device, table, budgets, params)
    supernet = Supernet(whole)  # contains every network of `space`
    load_into(supernet, flags.supernet / "supernet.safetensors")
    images = Images.read(flags.data)
    read = (flags.space, flags.data, flags.supernet, flags.profile, flags.start)
    code = inputs_fingerprint("search", params, *read)
    inputs = fingerprint(code, device.model_dump())
    checkpoint = Checkpoint(flags.out, inputs)
    batch = min(params.batch, len(images.val))
    start = Start.read(flags.start, space.groups, params.start_weight)
    problem = problem_of(space, budgets.limits, batch, bn_indicators(supernet, space))
    problem = replace(problem, start=start.distribution)
    algorithm = ALGORITHMS[params.algorithm](problem, params)
    print(start.describe(algorithm.reads_start) or "starting from the uniform distribution.")
    weights = shared_weights(supernet, images.augmented(params.seed), params)
    evaluate = evaluation(algorithm, supernet, images)
    if weights is not None:
        evaluate = weights.train_before(evaluate)
    rows = run(algorithm, space, evaluate, checkpoint, weights)
    found = Found(algorithm, answer(algorithm), rows)
    write(flags.out, own, found, device, table, budgets)
    write_json(flags.out / "start.json", START, start.report(algorithm.reads_start))
    (flags.out / SUPERNET_FILE).unlink(missing_ok=True)  # left by an earlier search run without DVC
    if weights is not None:
        write_bytes(flags.out / SUPERNET_FILE, to_bytes(supernet))
    checkpoint.clear()


def print_relaxed_budgets(
    name: str, device: Device, table: LatencyTable, budgets: SearchBudgets, params: SearchParams
) -> None:
    """Print which of the device's budgets and margins the search relaxes."""
    if budgets.margin is not None and budgets.margin < params.latency_margin:
        print(
            f"no architecture meets the latency budget of '{name}' with search.latency_margin "
            f"{params.latency_margin:.1%}: searching with {budgets.margin:.1%}."
        )
    if device.budget.latency_key is not None and not table.measured:
        print(
            f"'{name}' was not measured on this machine: its latency budget is not applied, and "
            "latency must be checked on the device."
        )


def evaluation(algorithm: Algorithm, supernet: Supernet, images: Images) -> Evaluate:
    """Build the evaluation that the algorithm requires."""
    params = algorithm.params
    if algorithm.evaluation_mode == "batch":
        held_out = TrainStream(images.val, images.info, params.batch, params.seed, augment=False)
        return supernet_evaluation(supernet, held_out)
    subset = spread(images.val, params.fitness_images)
    return recalibrated_evaluation(
        supernet,
        images.calibration(params.recalibration_batches, params.batch, params.seed),
        list(eval_batches(subset, images.info, EVAL_BATCH)),
    )


@dataclass(frozen=True)
class SearchBudgets:
    """The budgets of a search.

    Attributes:
        limits: one per budget, the latency budget reduced by the margin.
        margin: fraction of the latency budget left free; None without a latency limit.
    """

    limits: tuple[Limit, ...]
    margin: float | None


def search_budgets(
    space: SearchSpace, name: str, device: Device, table: LatencyTable, target_margin: float
) -> SearchBudgets:
    """The device's budgets, with the largest feasible part of the target margin.

    The margin makes it more likely that the measured latency is within the budget; it never makes a
    feasible budget infeasible.

    Args:
        space: the search space.
        name: the device's name, for the message.
        device: its settings, with the budgets.
        table: its latency model.
        target_margin: fraction of the latency budget to leave free.

    Raises:
        InfeasibleBudgetError: the budgets cannot be met even without margin.
    """
    full = limits(device, table)
    require_feasible(space, name, full)
    latency = next((limit for limit in full if limit.key == "latency_ms"), None)
    if latency is None:
        return SearchBudgets(full, None)
    least = latency.cost(latency.smallest(space))
    # Slightly less, so that rounding does not exclude the fastest architecture itself.
    largest = max(0.0, 1 - least / latency.budget - 1e-9)
    for margin in dict.fromkeys((target_margin, min(target_margin, largest))):
        tightened = limits(device, table, margin)
        try:
            require_feasible(space, name, tightened)
        except InfeasibleBudgetError:
            continue
        return SearchBudgets(tightened, margin)
    return SearchBudgets(full, 0.0)  # another budget excludes the fastest architectures


@dataclass(frozen=True)
class Found:
    """A finished search: the algorithm, its answer (best first), and the evaluated rows."""

    algorithm: Algorithm
    answer: list[Choices]
    rows: list[Row]


def run(
    algorithm: Algorithm,
    space: SearchSpace,
    evaluate: Evaluate,
    checkpoint: Checkpoint,
    weights: SharedWeights | None = None,
) -> list[Row]:
    """Run the search from the checkpoint, saving and reporting progress."""
    params = algorithm.params
    state = checkpoint.load()
    resume = None if state is None else Snapshot.restored(state)
    if weights is not None and state is not None:
        weights.restore(state["weights"])
    start = 0 if resume is None else int(resume.algorithm["step"])
    with Progress("search", params.steps, start) as progress:

        def after_step(snapshot: Snapshot) -> None:
            step = int(snapshot.algorithm["step"])
            if step % params.checkpoint_every == 0:
                extra = {} if weights is None else {"weights": weights.state()}
                checkpoint.save(snapshot.state() | extra)
            progress.update(step, summary(snapshot.rows))

        return search(algorithm, space.architecture, evaluate, resume, after_step)


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Values of the last step for its progress line."""
    last = [row for row in rows if row.step == rows[-1].step]
    values = [row.value if row.nll is None else row.nll for row in last]
    shown = {"value" if last[0].nll is None else "nll": sum(values) / len(values)}
    if last[0].entropy is not None:
        shown["entropy"] = last[0].entropy
    return shown | {
        "samples": len(rows),
        "over_budget": sum(row.excess for row in last) / len(last),
    }


def write(
    out: Path,
    own: DeviceSpace,
    found: Found,
    device: Device,
    table: LatencyTable,
    budgets: SearchBudgets,
) -> None:
    """Write the stage's files; equal searches give equal bytes.

    `distribution.json` is only written if the algorithm has one.
    """
    space, costs = own.space, predicted_costs(device, table)
    algorithm = found.algorithm
    write_json(
        out / "candidates.json",
        CANDIDATES,
        {
            "algorithm": algorithm.name,
            "space": space.name,
            "left_out": list(own.left_out),
            "candidates": [
                _candidate(choices, space, algorithm, costs) for choices in found.answer
            ],
            "latency_margin": rounded(budgets.margin),
            "sampled_architectures": algorithm.samples,
        },
    )
    if algorithm.distribution is not None:
        saved = algorithm.distribution.to_json()
        write_json(out / "distribution.json", DISTRIBUTION_SCHEMA, saved)
    write_bytes(out / "history.csv", history_csv(found.rows, space, costs))
    for name, content in algorithm.artifacts().items():
        write_bytes(out / name, content)
    picture = search_png(found.rows, space, algorithm, costs, budgets.limits)
    write_bytes(out / "search.png", picture)


def _candidate(
    choices: Choices,
    space: SearchSpace,
    algorithm: Algorithm,
    costs: Callable[[Architecture], dict[str, float | None]],
) -> dict[str, Any]:
    architecture, drawn_from = space.architecture(choices), algorithm.distribution
    return {
        "architecture": architecture.to_json(),
        "architecture_id": architecture.id,
        "log_probability": None if drawn_from is None else rounded(drawn_from.log_prob(choices)),
        "costs": costs(architecture),
    }


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages search", description=__doc__)
    parser.add_argument("--device", required=True)
    for name in ("params", "space", "data", "supernet", "profile", "start", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()
