"""The answer that a search would give if it ended now."""

from __future__ import annotations

from collections.abc import Callable

from models.search.algorithms import Algorithm
from models.search.evaluation import Evaluate
from models.search.loop import answer, judge_shortlist
from models.space.architecture import Architecture
from models.space.distribution import Choices


def answer_now(
    algorithm: Algorithm, architecture: Callable[[Choices], Architecture], judge: Evaluate
) -> tuple[Choices, int]:
    """The best candidate, and the evaluations so far with those of its shortlist.

    The search can go on afterwards as if nothing had been asked.
    """
    algorithm.judged = {}
    again = sum(1 for _ in judge_shortlist(algorithm, architecture, judge))
    found = answer(algorithm)[0]
    algorithm.judged = {}
    return found, algorithm.samples + again
