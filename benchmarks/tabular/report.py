"""The tabular benchmark's results as Markdown and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.harness.compare import spread_of
from benchmarks.harness.markdown import table as markdown
from benchmarks.tabular.compare import FIXED, NEAR, Compared, Run, final, spent
from benchmarks.tabular.table import CORRELATION, Table
from models.search.settings import SearchParams

GOAL = 0.64
"""Share of PARSEC's samples that FP-NAS is to save."""
_BELOW = 1.5
"""Points below the optimum where the picture ends."""


def section(one: Compared) -> str:
    """Everything about one setting."""
    algorithms = [[f"`{n}`", *_row(runs), _reached(one, runs)] for n, runs in one.runs.items()]
    sweep = []
    for key, runs in one.sweep.items():
        gap, mark = one.against(key).shown(3, level=0.9), "best" if key == one.parsec else ""
        sweep.append([f"{key[0]}", f"{key[1]:g}", *_row(runs), gap, mark])
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
        lines.append(
            f"- The PARSEC that is as good with the fewest samples takes {one.frugal[0]} a step at "
            f"rate {one.frugal[1]:g}; over that one FP-NAS saves {one.saved(one.frugal):.0%} "
            f"(PARSEC minus FP-NAS {one.against(one.frugal).shown(3, level=0.9)})."
        )
    lines.append(f"- Lost to random at equal evaluations: {', '.join(one.lost) or 'none'}.")
    return "\n".join(lines)


def _row(runs: Sequence[Run]) -> list[str]:
    return [spread_of(spent(runs).tolist(), 0), spread_of(final(runs).tolist(), 3)]


def _reached(one: Compared, runs: Sequence[Run]) -> str:
    """The median samples (a dash if fewer than half stay near the best), and how many do."""
    reached = [run.stays(one.best) for run in runs]
    middle = np.median([np.inf if samples is None else samples for samples in reached])
    count = sum(samples is not None for samples in reached)
    return f"{f'{middle:.0f}' if np.isfinite(middle) else '-'} ({count} of {len(runs)} runs)"


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
