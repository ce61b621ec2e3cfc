"""The tabular benchmark's results as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.results import table as markdown
from benchmarks.tabular_compare import FIXED, GOAL, Compared
from benchmarks.tabular_runs import NEAR, Difference, Run, final, spent
from benchmarks.tabular_table import CORRELATION, Table
from core.files import rounded
from models.search.settings import SearchParams

UNMODELLED = ("random",)
"""Algorithms that learn nothing, and so are the baseline."""


def section(one: Compared) -> str:
    """Everything about one setting."""
    algorithms = [[f"`{name}`", *_row(one, runs)] for name, runs in one.runs.items()]
    sweep = [
        [
            f"{fixed}",
            f"{rate:g}",
            *_row(one, runs)[:2],
            _shown(one.against((fixed, rate))),
            "best" if (fixed, rate) == one.parsec else "",
        ]
        for (fixed, rate), runs in one.sweep.items()
    ]
    variants = [[name, *_row(one, runs)[:2]] for name, runs in one.variants.items()]
    chance = [[f"`{n}`", _shown(one.over_random(n)), _judged(one, n)] for n in _learners(one)]
    near = f"samples until within {NEAR} of the best for good"
    return "\n\n".join(
        [
            f"Best there is: {one.best:.2f}%.",
            markdown(("algorithm", "samples", "accuracy %", near), algorithms),
            _verdicts(one),
            "PARSEC, by fixed samples a step and learning rate; the difference is its accuracy "
            "minus that of FP-NAS, paired, with the 90% interval:",
            markdown(("fixed", "rate", "samples", "accuracy %", "difference", ""), sweep),
            "FP-NAS with other params, to see what does what:",
            markdown(("variant", "samples", "accuracy %"), variants),
            "Against random search at equal numbers of evaluations, paired, 90% interval; lost "
            "where the 95% interval lies below 0:",
            markdown(("algorithm", "points over random", ""), chance),
        ]
    )


def introduction(
    table: Table, params: SearchParams, seeds: Sequence[int], drawn: str | None
) -> str:
    """What was run, for the results file."""
    image = f"\n\n![Accuracy against samples]({drawn})" if drawn else ""
    rule = (
        "two one-sided paired t tests at 5% show a difference below "
        f"{table.training_noise:.3f} points, the mean standard deviation of a network's trainings"
    )
    return f"""`python -m benchmarks.tabular --table nas-bench-macro_cifar10.json --out
docs/results/tabular.md --picture docs/results/tabular.png`. NAS-Bench-Macro (sha256
`{table.sha256[:12]}`), the params of `params.yaml`, seeds {seeds[0]} to {seeds[-1]}. An evaluation
meets one of a network's three trainings at random; accuracies are the mean of the three. Its NLL
is that of the prediction of largest entropy with this accuracy (`benchmarks/tabular_table.py`).
"Whole test split" scores the training as published. "Batches" draws {params.batch} images a step
({params.fitness_images}, always the same, for algorithms that ask for that), whose difficulty all
networks share with correlation {CORRELATION}.

PARSEC has a list of fixed numbers of samples ({", ".join(map(str, FIXED))}) at the default learning
rate, and half and twice that rate at the best of them. Equal means that {rule}.
All algorithms run with the params of `params.yaml`, none of which was tuned on this table; the
variants of FP-NAS below were, with seeds from 100 on.{image}"""


def to_json(
    table: Table, params: SearchParams, seeds: Sequence[int], found: Sequence[Compared]
) -> dict[str, Any]:
    """All numbers; what was not reached is null."""
    return {
        "table_sha256": table.sha256,
        "space": table.space.name,
        "seeds": list(seeds),
        "params": params.model_dump(mode="json"),
        "margin": rounded(table.training_noise),
        "near": NEAR,
        "settings": {one.setting.name: _setting(one) for one in found},
    }


def _setting(one: Compared) -> dict[str, Any]:
    best, frugal = one.parsec, one.frugal
    return {
        "judge": one.setting.judge,
        "flops": one.setting.flops,
        "best_accuracy": rounded(one.best),
        "algorithms": {
            name: _numbers(one, runs)
            | {"over_random": None if name in UNMODELLED else _interval(one.over_random(name))}
            for name, runs in one.runs.items()
        },
        "parsec_sweep": [
            {"fixed_samples": fixed, "learning_rate": rate}
            | _final(runs)
            | {"over_fp_nas": _interval(one.against((fixed, rate)))}
            for (fixed, rate), runs in one.sweep.items()
        ],
        "variants": {name: _final(runs) for name, runs in one.variants.items()},
        "claims": {
            "parsec_best": {"fixed_samples": best[0], "learning_rate": best[1]},
            "samples_saved": rounded(one.saved(best)),
            "equal_accuracy": one.against(best).equal(one.margin),
            "accuracy_no_less": one.against(best).below(one.margin),
            "parsec_most_frugal": None
            if frugal is None
            else {"fixed_samples": frugal[0], "learning_rate": frugal[1]},
            "samples_saved_over_most_frugal": None
            if frugal is None
            else rounded(one.saved(frugal)),
            "lost_to_random": [name for name in _learners(one) if one.over_random(name).lost()],
        },
    }


def _verdicts(one: Compared) -> str:
    fixed, rate = one.parsec
    saved, gap = one.saved(one.parsec), one.against(one.parsec)
    met = "met" if gap.below(one.margin) and saved >= GOAL else "missed"
    accuracy = (
        "equal" if gap.equal(one.margin) else "no less" if gap.below(one.margin) else "NOT equal"
    )
    lines = [
        f"- FP-NAS samples **{saved:.0%}** less than PARSEC at its best, {fixed} samples a step at "
        f"rate {rate:g}, for {accuracy} accuracy (PARSEC minus FP-NAS "
        f"{_shown(gap)}): goal {GOAL:.0%}, {met}."
    ]
    if one.frugal is None:
        lines.append("- No PARSEC of the list is as good as FP-NAS.")
    else:
        fixed, rate = one.frugal
        lines.append(
            f"- The PARSEC that gets as far with the fewest samples takes {fixed} a step at rate "
            f"{rate:g}; over that one FP-NAS saves {one.saved(one.frugal):.0%} "
            f"(PARSEC minus FP-NAS {_shown(one.against(one.frugal))})."
        )
    lost = [name for name in _learners(one) if one.over_random(name).lost()]
    lines.append(f"- Lost to random at equal evaluations: {', '.join(lost) or 'none'}.")
    return "\n".join(lines)


def _learners(one: Compared) -> list[str]:
    return [name for name in one.runs if name not in UNMODELLED]


def _judged(one: Compared, name: str) -> str:
    return "lost" if one.over_random(name).lost() else ""


def _row(one: Compared, runs: Sequence[Run]) -> list[str]:
    reached = [run.stays(one.best) for run in runs]
    count = sum(samples is not None for samples in reached)
    middle = _median(reached)
    return [
        f"{spent(runs).mean():.0f} ± {spent(runs).std():.0f}",
        f"{final(runs).mean():.3f} ± {final(runs).std():.3f}",
        f"{'-' if middle is None else f'{middle:.0f}'} ({count} of {len(runs)} runs)",
    ]


def _median(reached: Sequence[int | None]) -> float | None:
    """Over all runs; None where fewer than half of them arrive."""
    middle = float(np.median([np.inf if samples is None else samples for samples in reached]))
    return middle if np.isfinite(middle) else None


def _shown(gap: Difference) -> str:
    low, high = gap.interval90
    return f"{gap.mean:+.3f} ({low:+.3f} to {high:+.3f})"


def _interval(gap: Difference) -> dict[str, Any]:
    return {
        "mean": rounded(gap.mean),
        "interval90": [rounded(end) for end in gap.interval90],
        "interval95": [rounded(end) for end in gap.interval95],
    }


def _final(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "samples": {"mean": rounded(spent(runs).mean()), "std": rounded(spent(runs).std())},
        "accuracy": {"mean": rounded(final(runs).mean()), "std": rounded(final(runs).std())},
    }


def _numbers(one: Compared, runs: Sequence[Run]) -> dict[str, Any]:
    reached = [run.stays(one.best) for run in runs]
    return _final(runs) | {
        "stays_near_best": {
            "runs": sum(samples is not None for samples in reached),
            "median_samples": _median(reached),
        },
        "accuracies": [rounded(value) for value in final(runs)],
    }
