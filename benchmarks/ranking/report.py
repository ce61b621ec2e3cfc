"""The tables of how well each supernet orders networks.

Ground truth is the mean accuracy of each architecture trained on its own with two seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.harness.markdown import table
from benchmarks.harness.runs import Row
from models.predict.ranking import Certificate, Tau, certify, tau_b

INDICATORS = {
    "supernet_accuracy": "accuracy",
    "bn_indicator": "BN",
    "bn_indicator_per_layer": "BN per layer",
}
BASELINES = ("depth", "flops", "parameters")
HEAD = ("strategy", "rate", "seconds", "steps", "judge", "mean accuracy", *INDICATORS.values())


def certificate(
    truth: Sequence[float], rows: Sequence[Row], scores: Mapping[str, list[float]], bootstrap: int
) -> Certificate:
    """Taus of some scores and of the baselines, with bootstrap intervals."""
    baselines = {name: [float(row[name]) for row in rows] for name in BASELINES}
    chance = {"random": np.random.default_rng(0).random(len(rows)).tolist()}
    columns = {**scores, **baselines, **chance}
    return certify(truth, columns, bootstrap, np.random.default_rng(1))


def shown(tau: Tau) -> str:
    """A tau with its interval, or a dash where it is not defined."""
    if tau.value is None or tau.low is None or tau.high is None:
        return "-"
    return f"{tau.value:.2f} ({tau.low:.2f} to {tau.high:.2f})"


def report(truths: Sequence[Sequence[Row]], runs: Sequence[Row], bootstrap: int) -> dict[str, str]:
    """Sections on the ground truth and on all supernets."""
    rows = truths[0]
    ids = [row["architecture_id"] for row in rows]
    if any(run["architecture_ids"] != ids for run in runs):
        raise ValueError("scores and ground truth are of different architectures: run both again.")
    accuracies_SA = np.array([[row["accuracy"] for row in some] for some in truths])
    truth = accuracies_SA.mean(0).tolist()
    found = certificate(truth, rows, {}, bootstrap)
    apart = float(np.abs(np.subtract(*accuracies_SA)).mean())
    baselines = [[name, shown(found.tau[name])] for name in (*BASELINES, "random")]
    text = (
        f"{len(truth)} architectures, accuracies {min(truth):.3f} to {max(truth):.3f}. Two "
        f"trainings of one architecture differ by {apart:.4f} on average; their orders agree with "
        f"tau {tau_b(*accuracies_SA.tolist()):.2f}, what seed noise alone leaves of an order.\n\n"
        + table(("baseline", "tau-b (95% interval)"), baselines)
    )
    body = [line for run in runs for line in point_rows(run, truth, rows, bootstrap)]
    return {
        "Ground truth": text,
        "Supernets at equal wall time": (
            "tau-b with its 95% interval; `*`: the whole interval of the difference to the best "
            f"baseline lies above 0.\n\n{table(HEAD, body)}"
        ),
    }


def point_rows(
    run: Row, truth: Sequence[float], rows: Sequence[Row], bootstrap: int
) -> list[list[str]]:
    """The table's rows of one supernet, one per moment at which it was scored."""
    result = []
    for point in run["points"]:
        found = certificate(truth, rows, point["scores"], bootstrap)
        taus = [shown(found.tau[n]) + " *" * found.beats_best_baseline[n] for n in INDICATORS]
        length = [f"{point['seconds']:.0f}", str(point["steps"])]
        mean = f"{np.mean(point['scores']['supernet_accuracy']):.3f}"
        start = [f"`{run['strategy']}`", f"{run['learning_rate']:g}"]
        result.append([*start, *length, run["judge"], mean, *taus])
    return result
