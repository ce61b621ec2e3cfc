"""How well each supernet orders networks: `python -m benchmarks.ranking`, the table of all runs.

Ground truth is the mean accuracy of each architecture trained on its own with two seeds; the tau
between the seeds says what seed noise alone takes away. Before it, DVC makes and caches what it
reads: `dvc repro` in this folder runs everything.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ranking_params import SCHEMA, read_params
from core.files import read_json, write_bytes
from models.predict.ranking import Certificate, Tau, certify, tau_b

INDICATORS = {
    "supernet_accuracy": "accuracy",
    "bn_indicator": "BN",
    "bn_indicator_per_layer": "BN per layer",
}
BASELINES = ("depth", "flops", "parameters")


def mean_truth(truths: Sequence[Sequence[Mapping[str, Any]]]) -> list[float]:
    """Accuracy per architecture, averaged over the seeds."""
    accuracies = ([float(row["accuracy"]) for row in rows] for rows in truths)
    return [sum(column) / len(column) for column in zip(*accuracies, strict=True)]


def certificate(
    truth: Sequence[float], rows: Sequence[Mapping[str, Any]], scores: Mapping[str, list[float]]
) -> Certificate:
    """Taus of some scores and of the baselines, with bootstrap intervals."""
    baselines = {name: [float(row[name]) for row in rows] for name in BASELINES}
    chance = {"random": np.random.default_rng(0).random(len(rows)).tolist()}
    columns = {**scores, **baselines, **chance}
    return certify(truth, columns, read_params().bootstrap, np.random.default_rng(1))


def shown(tau: Tau) -> str:
    """A tau with its interval, or a dash where it is not defined."""
    if tau.value is None or tau.low is None or tau.high is None:
        return "-"
    return f"{tau.value:.2f} ({tau.low:.2f} to {tau.high:.2f})"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def truth_section(truths: Sequence[Sequence[Mapping[str, Any]]], truth: Sequence[float]) -> str:
    """What ground truth looks like, its ceiling, and what the baselines reach on it."""
    first, second = ([row["accuracy"] for row in rows] for rows in truths)
    ceiling = tau_b(first, second)
    apart = float(np.abs(np.subtract(first, second)).mean())
    found = certificate(truth, truths[0], {})
    rows = [[name, shown(found.tau[name])] for name in (*BASELINES, "random")]
    return (
        f"{len(truth)} architectures, accuracies {min(truth):.3f} to {max(truth):.3f}. Two "
        f"trainings of one architecture differ by {apart:.4f} on average; their orders agree with "
        f"tau {ceiling:.2f}, what seed noise alone leaves of an order.\n\n"
        + markdown_table(["baseline", "tau-b (95% interval)"], rows)
    )


def point_rows(
    run: Mapping[str, Any], truth: Sequence[float], rows: Sequence[Mapping[str, Any]]
) -> list[list[str]]:
    """The table's rows of one supernet, one per moment it was asked."""
    result = []
    for point in run["points"]:
        found = certificate(truth, rows, point["scores"])
        result.append(
            [
                f"`{run['strategy']}`",
                f"{run['learning_rate']:g}",
                f"{point['seconds']:.0f}",
                str(point["steps"]),
                run["judge"],
                f"{np.mean(point['scores']['supernet_accuracy']):.3f}",
                *(
                    shown(found.tau[name]) + (" *" if found.beats[name] else "")
                    for name in INDICATORS
                ),
            ]
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranking", description=__doc__)
    parser.add_argument("--truth", type=Path, nargs=2, required=True)
    parser.add_argument("--scores", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    truths = [read_json(file, f"{SCHEMA}/truth/1")["rows"] for file in flags.truth]
    truth, rows = mean_truth(truths), truths[0]
    runs = [read_json(file, f"{SCHEMA}/scores/1") for file in flags.scores]
    ids = [row["architecture_id"] for row in rows]
    if any(run["architecture_ids"] != ids for run in runs):
        raise ValueError("scores and ground truth are of different architectures: run both again.")
    head = ["strategy", "rate", "seconds", "steps", "judge", "mean accuracy", *INDICATORS.values()]
    body = [line for run in runs for line in point_rows(run, truth, rows)]
    text = (
        "## Ground truth\n\n"
        + truth_section(truths, truth)
        + "\n\n## Supernets at equal wall time\n\n"
        "tau-b with its 95% interval; `*`: the whole interval of the difference to the best "
        "baseline lies above 0.\n\n" + markdown_table(head, body) + "\n"
    )
    write_bytes(flags.out, text.encode())
    print(text)


if __name__ == "__main__":
    main()
