"""The report of the two-stage benchmark."""

import argparse
from typing import Any

from benchmarks.two_stage.report import ONE, RANDOM, SHORT, TWO, report


def invented(arm: str, seed: int, accuracy: float, name: str, judged: dict[str, float]) -> Any:
    return {
        "arm": arm,
        "seed": seed,
        "accuracy": accuracy,
        "architecture_id": name,
        "steps": {ONE: 600, SHORT: 418, TWO: 418, RANDOM: 0}[arm],
        "flops": round(1e8 * accuracy),
        "parameters": round(-1e6 * accuracy),
        "layers": round(100 * accuracy) % 5,
        "judged": judged,
    }


def test_the_report_pairs_seeds_and_says_how_far_supernets_are_trusted() -> None:
    right, wrong = {"a": 0.3, "b": 0.2, "c": 0.1, "d": 0.0}, {"a": 0, "b": 1, "c": 2, "d": 3}
    runs = [
        invented(arm, seed, base + 0.01 * seed, arm, judged)
        for arm, base, judged in ((ONE, 0.8, right), (SHORT, 0.7, wrong), (TWO, 0.9, {}))
        for seed in (0, 1)
    ]
    for name, seed, accuracy in (("a", 0, 0.5), ("b", 0, 0.6), ("c", 1, 0.62), ("d", 1, 0.7)):
        runs.append(invented(RANDOM, seed, accuracy, name, {}))
    args = argparse.Namespace(
        device="d", steps=600, seeds=[0, 1], epochs=0.5, evaluations=9, draws=2
    )
    text = report(runs, args)
    assert (
        "| two stages over one stage, short | +20.00 | 0.00 | +20.00 to +20.00 | better |" in text
    )
    assert "| one stage, short over one stage | -10.00 | 0.00 | -10.00 to -10.00 | worse |" in text
    assert "| one stage over random | +20.00 | 7.07 | -43.53 to +83.53 | undecided |" in text
    assert "| random | 0 | 4 | 60.5 ± 8.2 |" in text
    assert "| NLL of one stage (600 steps) | 1.00 ± 0.00 | 1.00 ± 0.00 | -1.00 ± 0.00 |" in text
    assert "| NLL of one stage, short (418 steps) | -1.00 ± 0.00 |" in text
    assert "| thousand parameters | -1.00 | -1.00 | 1.00 |" in text
