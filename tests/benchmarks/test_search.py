"""What the search benchmark says of answers by the supernet's own measure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.harness.judged import answer_now
from benchmarks.harness.presets import COMPACT
from benchmarks.search.__main__ import answer_at, answers_compared, report, steps_within
from models.search.algorithms import ALGORITHMS, Algorithm
from models.search.evaluation import Evaluation
from models.search.loop import one_step
from models.search.problem import problem_of
from models.space.architecture import Architecture
from models.space.costs import flops
from tests.worlds import search_params

SPACE = COMPACT.load()


def evaluate(step: int, networks: Sequence[Architecture]) -> list[Evaluation]:
    """Larger is better; every step has its own difficulty."""
    return [Evaluation(step % 7 - flops(network) * 1e-6, 0.5) for network in networks]


def judge(step: int, networks: Sequence[Architecture]) -> list[Evaluation]:
    return [Evaluation(-flops(network) * 1e-6, 0.5) for network in networks]


def random_search(steps: int) -> Algorithm:
    params = search_params("random", {"fixed_samples": 4}, steps=steps)
    return ALGORITHMS["random"](problem_of(SPACE, (), 256), params)


def test_random_search_has_as_many_evaluations_with_its_shortlist() -> None:
    searched = random_search(60)
    for count in (48, 100, 240):
        for _ in range(searched.step, steps_within(count, searched)):
            one_step(searched, SPACE.architecture, evaluate)
        before = searched.state()
        found, evaluations = answer_now(searched, SPACE.architecture, judge)
        assert count - 4 < evaluations <= count
        assert searched.state() == before
        shortlist = searched.shortlist(36, np.random.default_rng(0))
        assert found == max(shortlist, key=lambda c: flops(SPACE.architecture(c)))


def run(name: str, seed: int, nll: list[float], each: int = 10) -> dict[str, Any]:
    answers = [
        {"evaluations": each * (place + 1), "nll": value, "val_accuracy": 1 - value}
        for place, value in enumerate(nll)
    ]
    evaluated = each * len(nll)
    costs = {"distinct": evaluated, "seconds": 1.0, "flops": 1e6}
    return {"algorithm": name, "seed": seed, "evaluated": evaluated, "answers": answers} | costs


def test_an_answer_is_the_last_one_that_so_many_evaluations_gave() -> None:
    one = run("random", 0, [0.5, 0.4, 0.3])
    assert [answer_at(one, n)["nll"] for n in (5, 10, 29, 100)] == [0.5, 0.5, 0.4, 0.3]


def test_only_answers_that_are_compared_are_evaluated() -> None:
    chance = run("random", 0, [0.5, 0.4, 0.35, 0.3])
    others = [run("x", 0, [0.2, 0.2]), run("y", 1, [0.2])]
    assert [one["evaluations"] for one in answers_compared(chance, [chance, *others])] == [20, 40]
    assert answers_compared(others[1], others) == others[1]["answers"]


def test_algorithms_meet_random_search_at_their_own_numbers_of_evaluations() -> None:
    # After 20 evaluations random search is at 0.4, after 30 it is as good as the algorithm.
    chance = [run("random", seed, [0.5, 0.4 + 0.001 * seed, 0.3]) for seed in range(4)]
    good = [run("fp_nas", seed, [0.45, 0.3]) for seed in range(4)]
    poor = [run("poor", seed, [0.55, 0.5]) for seed in range(4)]
    text = report({"fp_nas": good, "poor": poor, "random": chance})
    assert "| `fp_nas` | -101.5 (-103.6 to -99.4) | better | +10.15 (+9.94 to +10.36) |" in text
    assert "| `poor` | +98.5 (+96.4 to +100.6) | worse |" in text
    assert "| `random` | 30 ± 0 |" in text  # its last answer
    assert "| `poor` | 20 against 20 | -200.0 (-200.0 to -200.0) | better |" in text


@pytest.mark.parametrize(
    ("nll", "verdict"), [(0.302, "no worse"), (0.304, "not shown"), (0.299, "better")]
)
def test_fp_nas_is_no_worse_where_its_interval_ends_within_the_margin(
    nll: float, verdict: str
) -> None:
    found = {
        "fp_nas": [run("fp_nas", seed, [nll + 1e-5 * seed]) for seed in range(4)],
        "parsec": [run("parsec", seed, [0.3]) for seed in range(4)],
        "random": [run("random", seed, [0.4]) for seed in range(4)],
    }
    assert report(found).splitlines()[-1].endswith(f"| {verdict} |")


def test_equal_answers_differ_insignificantly() -> None:
    values = np.random.default_rng(0).normal(0.4, 0.01, (2, 6))
    first, second = ([run("x", s, [float(v)]) for s, v in enumerate(row)] for row in values)
    assert "undecided" in report({"x": first, "random": second})
