"""How good a search's answer is by what the search optimises: the supernet's own measure.

A final training levels the answers. Before it, the recalibrated slice of the supernet has an NLL on
ALL validation images, which no search sees so well: they look at batches, or at some of the images.
Regret is an answer's NLL minus the lowest of any answer of any algorithm and seed.

Every algorithm is held against random search with the same seed and as many evaluations: the
random search runs as long as its longest rival, and its answer is asked for after every step.
Intervals are Student's t, paired over the seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import table
from benchmarks.search_setting import Setting
from benchmarks.tabular_runs import Difference
from benchmarks.tabular_table import Array
from core.files import write_json
from core.settings import read_section
from data.stream import eval_batches
from models.search.evaluation import recalibrated_evaluation
from models.search.rank.settings import RankParams
from models.space.architecture import Architecture
from models.training.learning import EVAL_BATCH

SCHEMA = "netwright/search-measure/1"
RANDOM, FP_NAS = "random", "fp_nas"
MARGIN = 0.003
"""Nats below which a difference is none: a fifth of the spread of random networks within the
budget, and what the answers of one algorithm differ by from seed to seed."""
_MILLI = 1e3

Run = Mapping[str, Any]


def measure(setting: Setting, runs: Sequence[dict[str, Any]], work: Path) -> list[dict[str, Any]]:
    """Give every answer its NLL and accuracy; every network is judged once, whoever found it."""
    params = read_section(setting.params, "rank", RankParams)
    images = setting.images
    calibration = images.calibration(params.recalibration_batches, params.batch, params.seed)
    held_out = list(eval_batches(images.val, images.info, EVAL_BATCH))
    judge = recalibrated_evaluation(setting.supernet, calibration, held_out)

    def judged(answer: dict[str, Any]) -> dict[str, Any]:
        network = Architecture.from_json(answer["architecture"])
        file = work / f"val-{network.id}.json"
        if not file.is_file():
            (found,) = judge(0, [network])
            write_json(file, SCHEMA, {"nll": found.nll, "val_accuracy": found.accuracy})
        known: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
        return answer | {key: known[key] for key in ("nll", "val_accuracy")}

    return [run | {"answers": [judged(one) for one in asked_for(run, runs)]} for run in runs]


def asked_for(run: Run, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Those of a run's answers that it is compared by: at the evaluations of some with its seed."""
    counts = {other["sampled"] for other in runs if other["seed"] == run["seed"]}
    asked = [answer_at(run, count) for count in counts]
    return [answer for answer in run["answers"] if answer in asked]


def answer_at(run: Run, samples: int) -> dict[str, Any]:
    """What a run had answered after at most so many evaluations (its first answer, if fewer)."""
    made = [one for one in run["answers"] if one["samples"] <= samples]
    found: dict[str, Any] = (made or run["answers"])[-1 if made else 0]
    return found


def final(runs: Sequence[Run], key: str) -> Array:
    """A number of every run's last answer, shape (S,)."""
    return np.array([run["answers"][-1][key] for run in runs])


def over_random(chance: Sequence[Run], runs: Sequence[Run], key: str) -> Difference:
    """An algorithm's number minus random search's, same seeds, as many evaluations."""
    by_seed = {run["seed"]: run for run in chance}
    equal = [answer_at(by_seed[run["seed"]], run["sampled"])[key] for run in runs]
    return Difference.of(final(runs, key), np.array(equal))


def of_same_seeds(runs: Sequence[Run], others: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs of both whose seeds both have, in the same order."""
    first, second = ({run["seed"]: run for run in some} for some in (runs, others))
    seeds = sorted(first.keys() & second.keys())
    return [first[seed] for seed in seeds], [second[seed] for seed in seeds]


def measured_report(runs: Mapping[str, Sequence[Run]]) -> str:
    """What everybody's answers are worth, who beats random search, and how FP-NAS stands.

    Args:
        runs: by name; random search among them, with the seeds of all others; at least two each.
    """
    chance, rivals = runs[RANDOM], {n: found for n, found in runs.items() if n != RANDOM}
    longest = max(run["sampled"] for found in rivals.values() for run in found)
    cut = [{**one, "sampled": longest, "answers": [answer_at(one, longest)]} for one in chance]
    rows = rivals | {RANDOM: cut}
    least = min(float(final(found, "nll").min()) for found in rows.values())
    parts = [
        table(
            ("algorithm", "seeds", "sampled", "NLL", "regret, thousandths of a nat", "accuracy %"),
            [_worth(name, found, least) for name, found in rows.items()],
        ),
        "Against random search with as many evaluations, paired over the seeds, with the 95% "
        "interval; NLL in thousandths of a nat, less is better:",
        table(
            ("algorithm", "NLL over random", "", "accuracy points over random"),
            [_against_random(name, chance, found) for name, found in rivals.items()],
        ),
    ]
    pairs = [
        _fp_nas(name, found, other, others)
        for name, found in rivals.items()
        for other, others in rivals.items()
        if name.startswith(FP_NAS) and name != other
    ]
    if pairs:
        parts += [
            "FP-NAS minus others, paired over the seeds, NLL in thousandths of a nat, with the 90% "
            f"interval; no worse where it ends below +{_MILLI * MARGIN:g}, better where it ends "
            "below 0:",
            table(("", "minus", "samples", "NLL", ""), pairs),
        ]
    return "\n\n".join(parts)


def _worth(name: str, found: Sequence[Run], least: float) -> list[str]:
    nll_S, sampled_S = final(found, "nll"), np.array([float(run["sampled"]) for run in found])
    return [
        f"`{name}`",
        f"{len(found)}",
        _spread(sampled_S, 0),
        _spread(nll_S, 4),
        _spread(_MILLI * (nll_S - least), 1),
        _spread(100 * final(found, "val_accuracy"), 2),
    ]


def _against_random(name: str, chance: Sequence[Run], found: Sequence[Run]) -> list[str]:
    nll = over_random(chance, found, "nll")
    low, high = nll.interval95
    verdict = "better" if high < 0 else "lost" if low > 0 else "not told apart"
    right = over_random(chance, found, "val_accuracy")
    shown = _shown(nll.mean, nll.interval95, _MILLI, 1)
    return [f"`{name}`", shown, verdict, _shown(right.mean, right.interval95, 100, 2)]


def _fp_nas(name: str, own: Sequence[Run], other: str, others: Sequence[Run]) -> list[str]:
    mine, theirs = of_same_seeds(own, others)
    gap = Difference.of(final(mine, "nll"), final(theirs, "nll"))
    high = gap.interval90[1]
    verdict = "better" if high < 0 else "no worse" if high < MARGIN else "not shown"
    counts = [float(np.mean([run["sampled"] for run in some])) for some in (mine, theirs)]
    shown = _shown(gap.mean, gap.interval90, _MILLI, 1)
    return [f"`{name}`", f"`{other}`", f"{counts[0]:.0f} against {counts[1]:.0f}", shown, verdict]


def _shown(mean: float, interval: tuple[float, float], unit: float, digits: int) -> str:
    low, high = (f"{unit * end:+.{digits}f}" for end in interval)
    return f"{unit * mean:+.{digits}f} ({low} to {high})"


def _spread(values_S: Array, digits: int) -> str:
    return f"{values_S.mean():.{digits}f} ± {values_S.std(ddof=1):.{digits}f}"
