"""One search on a real supernet, for `benchmarks.search`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from benchmarks.search_measure import RANDOM
from benchmarks.search_setting import Setting
from core.files import rounded
from core.settings import read_section
from devices.fleet.read import pick_device
from devices.latency.budgets import read_latency_table
from models.search.algorithms import ALGORITHMS
from models.search.loop import answer, problem_of, search
from models.search.problem import bn_indicators
from models.search.settings import SearchParams
from models.space.architecture import Architecture
from models.space.costs import flops
from stages.search import evaluation, search_budgets


def searched(
    setting: Setting, name: str, seed: int, changes: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """One search with the params of `params.yaml`: its answer, its samples, its seconds.

    Args:
        setting: where.
        name: of the algorithm.
        seed: of the search.
        changes: of the params.

    Returns:
        `answers` has those on the way too, each with the evaluations that it took, where the
        algorithm is random search, against which others are held at their numbers of evaluations.
    """
    section = read_section(setting.params, "search", SearchParams)
    update = {"algorithm": name, "seed": seed, **(changes or {})}
    params = section.model_copy(update=update)
    device = pick_device(setting.params, setting.device)
    latency = read_latency_table(setting.artifacts / "profile" / setting.device)
    asked = search_budgets(setting.space, setting.device, device, latency, params.latency_margin)
    batch = min(params.batch, len(setting.images.val))
    began = time.perf_counter()
    indicators = bn_indicators(setting.supernet, setting.space)
    problem = problem_of(setting.space, asked.limits, batch, indicators)
    algorithm = ALGORITHMS[name](problem, params)
    judge = evaluation(algorithm, setting.supernet, setting.images)
    answers: list[dict[str, Any]] = []

    def note(_: object = None) -> None:
        found = setting.space.architecture(answer(algorithm)[0])
        if not answers or answers[-1]["architecture"] != found.to_json():
            answers.append({"samples": algorithm.samples, "architecture": found.to_json()})

    on_the_way = note if name == RANDOM else None
    rows = search(algorithm, setting.space.architecture, judge, after_step=on_the_way)
    note()
    best = Architecture.from_json(answers[-1]["architecture"])
    return {
        "algorithm": name,
        "seed": seed,
        "answers": answers,
        "architecture": best.to_json(),
        "architecture_id": best.id,
        "short": best.short(),
        "flops": flops(best),
        "costs": {limit.key: rounded(limit.cost(best)) for limit in asked.limits},
        "sampled": algorithm.samples,
        "distinct": len({row.architecture_id for row in rows}),
        "seconds": time.perf_counter() - began,
    }
