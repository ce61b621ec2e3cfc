"""From a trained supernet and a device's latency table to candidate architectures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import data
import devices
import models
from data.dataset import DatasetInfo, read_split
from data.stream import TrainStream
from devices.device import Device
from devices.latency import LatencyTable
from models.architecture import Architecture
from models.distribution import SCHEMA as DISTRIBUTION_SCHEMA
from models.distribution import Choices, Distribution
from models.space import SearchSpace
from models.supernet import Supernet
from models.weights import load_into
from stages.common.budgets import (
    InfeasibleBudgetError,
    Limit,
    limits,
    predicted_costs,
    read_latency_table,
    require_feasible,
)
from stages.common.checkpoint import Checkpoint
from stages.common.devices import pick_device
from stages.common.files import fingerprint, rounded, write_bytes, write_json
from stages.common.learning import inputs_fingerprint
from stages.common.params import read_section
from stages.common.progress import Progress
from stages.common.runtime import prepare_machine
from stages.common.schemas import CANDIDATES
from stages.search.algorithms import ALGORITHMS
from stages.search.algorithms.base import Algorithm
from stages.search.evaluation import Evaluate, supernet_evaluation
from stages.search.history import history_csv
from stages.search.loop import Row, Snapshot, answer, problem_of, search
from stages.search.params import SearchParams
from stages.search.picture import search_png


def main() -> None:
    """Parse the flags, search, write candidates, distribution, history and picture."""
    flags = _flags()
    params = read_section(flags.params, "search", SearchParams)
    device = pick_device(flags.params, flags.device)
    prepare_machine(params.threads, params.seed)
    info = DatasetInfo.read(flags.data)
    space = SearchSpace.load(flags.space, info.image_shape, len(info.classes))
    table = read_latency_table(flags.profile)
    asked = kept_budgets(space, flags.device, device, table, params.latency_margin)
    if asked.margin is not None and asked.margin < params.latency_margin:
        print(
            f"no architecture leaves search.latency_margin {params.latency_margin:.1%} of the "
            f"latency budget of '{flags.device}' free: searching with {asked.margin:.1%}."
        )
    if device.budget.latency_ms is not None and not table.measured:
        print(
            f"'{flags.device}' was not measured on this machine: its latency budget is left to "
            "whoever can measure it."
        )
    supernet = Supernet(space)
    load_into(supernet, flags.supernet / "supernet.safetensors")
    held_out = TrainStream(
        read_split(flags.data, "val"), info, params.batch, params.seed, augment=False
    )
    read = (flags.space, flags.data, flags.supernet, flags.profile)
    code = inputs_fingerprint("search", params, *read, packages=(models, data, devices))
    inputs = fingerprint(code, device.model_dump())
    checkpoint = Checkpoint(flags.out, inputs)
    searched = ALGORITHMS[params.algorithm](problem_of(space, asked.limits, held_out.batch), params)
    rows = run(searched, space, supernet_evaluation(supernet, held_out), checkpoint)
    found = Found(searched, answer(searched), rows)
    write(flags.out, space, found, device, table, asked)
    checkpoint.clear()


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
    least = latency.cost(space.extreme(latency.block_cost))
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
    searched: Algorithm, space: SearchSpace, evaluate: Evaluate, checkpoint: Checkpoint
) -> list[Row]:
    """Search from the checkpoint on, saving and reporting on the way."""
    params = searched.params
    state = checkpoint.load()
    resume = None if state is None else Snapshot.restored(state)
    start = 0 if resume is None else int(resume.algorithm["step"])
    with Progress("search", params.steps, start) as progress:

        def after_step(snapshot: Snapshot) -> None:
            step = int(snapshot.algorithm["step"])
            if step % params.checkpoint_every == 0:
                checkpoint.save(snapshot.state())
            progress.update(step, summary(snapshot.rows))

        return search(searched, space.architecture, evaluate, resume, after_step)


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """What the last step's progress line shows."""
    last = [row for row in rows if row.step == rows[-1].step]
    return {
        "nll": sum(row.nll for row in last) / len(last),
        "entropy": last[0].entropy,
        "samples": len(rows),
        "over_budget": sum(row.excess for row in last) / len(last),
    }


def write(
    out: Path,
    space: SearchSpace,
    found: Found,
    device: Device,
    table: LatencyTable,
    asked: Asked,
) -> None:
    """Write the stage's four files; equal searches give equal bytes."""
    costs = predicted_costs(device, table)
    distribution = found.algorithm.distribution
    write_json(
        out / "candidates.json",
        CANDIDATES,
        {
            "algorithm": found.algorithm.name,
            "space": space.name,
            "candidates": [
                _candidate(choices, space, distribution, costs) for choices in found.answer
            ],
            "latency_margin": rounded(asked.margin),
            "sampled_architectures": found.algorithm.samples,
        },
    )
    write_json(out / "distribution.json", DISTRIBUTION_SCHEMA, distribution.to_json())
    write_bytes(out / "history.csv", history_csv(found.rows, space, costs))
    write_bytes(
        out / "search.png", search_png(found.rows, space, distribution, costs, asked.limits)
    )


def _candidate(
    choices: Choices,
    space: SearchSpace,
    distribution: Distribution,
    costs: Callable[[Architecture], dict[str, float | None]],
) -> dict[str, Any]:
    architecture = space.architecture(choices)
    return {
        "architecture": architecture.to_json(),
        "architecture_id": architecture.id,
        "log_probability": rounded(distribution.log_prob(choices)),
        "costs": costs(architecture),
    }


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.search", description=__doc__)
    parser.add_argument("--device", required=True)
    for name in ("params", "space", "data", "supernet", "profile", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()
