"""Search candidate architectures with a trained supernet and a device's latency table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.checkpoint import Checkpoint
from devices.device import Device
from devices.latency.budgets import predicted_costs, print_relaxed_budgets, search_budgets
from devices.latency.device_profile import DeviceProfile
from devices.latency.device_space import device_space
from models.nets.supernet import Supernet
from models.search.algorithms import ALGORITHMS
from models.search.evaluation import common_evaluation, evaluation
from models.search.loop import run_search
from models.search.problem import bn_indicators, problem_of
from models.search.result import FinishedSearch
from models.search.settings import SearchParams
from models.search.start import Start
from models.space.space import SearchSpace
from models.training.learning import Images


def search(
    settings: SearchParams,
    name: str,
    device: Device,
    data: Images,
    space: SearchSpace,
    supernet: Supernet,
    profile: DeviceProfile,
    start: Path,
    checkpoint: Checkpoint,
) -> FinishedSearch:
    """Search a device's space within its budgets.

    Raises:
        InfeasibleBudgetError: no architecture meets the budgets.
    """
    own, table = device_space(space, name, device), profile.table
    for remark in own.remarks:
        print(remark)
    budgets = search_budgets(own.space, name, device, table, settings.latency_margin)
    print_relaxed_budgets(name, device, table, budgets, settings.latency_margin)
    first = Start.read(start, own.space.groups)
    batch = min(settings.batch, len(data.val))
    problem = problem_of(own.space, budgets.limits, batch, bn_indicators(supernet, own.space))
    create = ALGORITHMS[settings.algorithm.name]
    algorithm = create(replace(problem, start=first.distribution), settings)
    print(
        first.describe(algorithm.start_weight is not None)
        or "starting from the uniform distribution."
    )
    evaluate = evaluation(algorithm, supernet, data)
    judge = common_evaluation(settings, supernet, data)
    rows = run_search(algorithm, own.space, evaluate, judge, checkpoint)
    return FinishedSearch(
        algorithm,
        rows,
        own.space,
        own.left_out,
        predicted_costs(device, table),
        budgets.limits,
        budgets.margin,
        first,
    )
