"""The tabular benchmark's results as Markdown, as JSON and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.harness.compare import Difference
from benchmarks.harness.markdown import number
from benchmarks.harness.markdown import table as markdown
from benchmarks.tabular.compare import FIXED, NEAR, Compared, Run, final, spent
from benchmarks.tabular.table import CORRELATION, Table
from core.files import rounded
from models.search.settings import SearchParams

GOAL = 0.64
"""Share of PARSEC's samples that FP-NAS is to save."""
_BELOW = 1.5
"""Points below the optimum where the picture ends."""


def section(one: Compared) -> str:
    """Everything about one setting."""
    algorithms = [[f"`{name}`", *_row(one, runs)] for name, runs in one.runs.items()]
    sweep = [
        [
            f"{fixed}",
            f"{rate:g}",
            *_row(one, runs)[:2],
            one.against((fixed, rate)).shown(3, level=0.9),
            "best" if (fixed, rate) == one.parsec else "",
        ]
        for (fixed, rate), runs in one.sweep.items()
    ]
    chance = [
        [f"`{n}`", one.over_random(n).shown(3, level=0.9), "lost" if n in one.lost else ""]
        for n in one.runs
        if n != "random"
    ]
    near = f"samples until within {NEAR} of the best for good"
    return "\n\n".join(
        [
            f"Best there is: {one.best:.2f}%.",
            markdown(("algorithm", "samples", "accuracy %", near), algorithms),
            _verdicts(one),
            "PARSEC, by fixed samples a step and learning rate; the difference is its accuracy "
            "minus that of FP-NAS, paired, with the 90% interval:",
            markdown(("fixed", "rate", "samples", "accuracy %", "difference", ""), sweep),
            "Against random search at equal numbers of evaluations, paired, 90% interval; lost "
            "where the 95% interval lies below 0:",
            markdown(("algorithm", "points over random", ""), chance),
        ]
    )


def introduction(
    table: Table, params: SearchParams, seeds: Sequence[int], drawn: str | None
) -> str:
    """What was run, for the results page."""
    image = f"\n\n![Accuracy against samples]({drawn})" if drawn else ""
    rule = (
        "two one-sided paired t tests at 5% show a difference below "
        f"{table.training_noise:.3f} points, the mean standard deviation of a network's trainings"
    )
    return f"""`python -m benchmarks.tabular --table nas-bench-macro_cifar10.json --out
docs/results/tabular.md --picture docs/results/tabular.png`. NAS-Bench-Macro (sha256
`{table.sha256[:12]}`), the settings of `params.yaml`, seeds {seeds[0]} to {seeds[-1]}. An
evaluation uses one of a network's three trainings at random; accuracies are the mean of the three.
Its NLL is that of the prediction of largest entropy with this accuracy
(`benchmarks/tabular/table.py`). "Whole test split" scores the training as published. "Batches"
draws {params.batch} images a step ({params.fitness_images}, always the same, for algorithms that
require that), whose difficulty all networks share with correlation {CORRELATION}.

PARSEC has a list of fixed numbers of samples ({", ".join(map(str, FIXED))}) at the default learning
rate, and half and twice that rate at the best of them. Equal means that {rule}.
All algorithms run with the settings of `params.yaml`; none was tuned on this table.{image}"""


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
    over = {name: _interval(one.over_random(name)) for name in one.runs if name != "random"}
    return {
        "judge": one.setting.judge,
        "flops": one.setting.flops,
        "best_accuracy": rounded(one.best),
        "algorithms": {
            name: _numbers(one, runs) | {"over_random": over.get(name)}
            for name, runs in one.runs.items()
        },
        "parsec_sweep": [
            _parsec(key) | _final(runs) | {"over_fp_nas": _interval(one.against(key))}
            for key, runs in one.sweep.items()
        ],
        "claims": {
            "parsec_best": _parsec(best),
            "samples_saved": rounded(one.saved(best)),
            "equal_accuracy": one.against(best).equal(one.margin),
            "accuracy_no_less": one.against(best).below(one.margin),
            "parsec_most_frugal": frugal and _parsec(frugal),
            "samples_saved_over_most_frugal": frugal and rounded(one.saved(frugal)),
            "lost_to_random": one.lost,
        },
    }


def _parsec(key: tuple[int, float]) -> dict[str, Any]:
    return {"fixed_samples": key[0], "learning_rate": key[1]}


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
        f"{gap.shown(3, level=0.9)}): goal {GOAL:.0%}, {met}."
    ]
    if one.frugal is None:
        lines.append("- No PARSEC of the list is as good as FP-NAS.")
    else:
        fixed, rate = one.frugal
        lines.append(
            f"- The PARSEC that is as good with the fewest samples takes {fixed} a step at rate "
            f"{rate:g}; over that one FP-NAS saves {one.saved(one.frugal):.0%} "
            f"(PARSEC minus FP-NAS {one.against(one.frugal).shown(3, level=0.9)})."
        )
    lines.append(f"- Lost to random at equal evaluations: {', '.join(one.lost) or 'none'}.")
    return "\n".join(lines)


def _row(one: Compared, runs: Sequence[Run]) -> list[str]:
    count, middle = _reached(one, runs)
    return [
        f"{spent(runs).mean():.0f} ± {spent(runs).std():.0f}",
        f"{final(runs).mean():.3f} ± {final(runs).std():.3f}",
        f"{number(middle, '.0f')} ({count} of {len(runs)} runs)",
    ]


def _reached(one: Compared, runs: Sequence[Run]) -> tuple[int, float | None]:
    """How many runs stay near the best, and the median samples; None if fewer than half do."""
    reached = [run.stays(one.best) for run in runs]
    middle = float(np.median([np.inf if samples is None else samples for samples in reached]))
    count = sum(samples is not None for samples in reached)
    return count, middle if np.isfinite(middle) else None


def _interval(gap: Difference) -> dict[str, Any]:
    return {
        "mean": rounded(gap.mean),
        "interval90": [rounded(end) for end in gap.interval(0.9)],
        "interval95": [rounded(end) for end in gap.interval()],
    }


def _final(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "samples": {"mean": rounded(spent(runs).mean()), "std": rounded(spent(runs).std())},
        "accuracy": {"mean": rounded(final(runs).mean()), "std": rounded(final(runs).std())},
    }


def _numbers(one: Compared, runs: Sequence[Run]) -> dict[str, Any]:
    count, middle = _reached(one, runs)
    return _final(runs) | {
        "stays_near_best": {"runs": count, "median_samples": middle},
        "accuracies": [rounded(value) for value in final(runs)],
    }


def picture(found: Sequence[Compared]) -> bytes:
    """Accuracy against samples, one panel a setting: mean and standard deviation over the seeds."""
    figure = Figure(figsize=(11, 3.4 * -(-len(found) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(-(-len(found) // 2), 2, squeeze=False).flat
    for axes, one in zip(panels, found, strict=False):
        for name, runs in one.runs.items():
            last = min(run.samples[-1] for run in runs)
            samples = np.arange(max(run.samples[0] for run in runs), last + 1)
            curves = np.array([[run.at(int(count)) for count in samples] for run in runs])
            mean, band = curves.mean(0), curves.std(0)
            (line,) = axes.plot(samples, mean, label=name, linewidth=1.2)
            axes.fill_between(samples, mean - band, mean + band, alpha=0.1, color=line.get_color())
        axes.axhline(one.best, color="black", linewidth=0.8, linestyle=":")
        axes.set_ylim(one.best - _BELOW, one.best + 0.1)
        axes.set_xlabel("sampled architectures")
        axes.set_ylabel("true accuracy of the answer (%)")
        axes.set_title(one.setting.name, fontsize=9)
    figure.axes[0].legend(fontsize=7, loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return buffer.getvalue()
