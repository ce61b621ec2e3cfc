"""Whether the space's largest network is better than its students, and what it is worth to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness.markdown import table
from benchmarks.harness.runs import Row, Runs
from benchmarks.recipe.arms import BEST, HALF, SHORT, Arm, Question, rated
from benchmarks.recipe.training import World
from core.files import write_array
from data.stream import eval_batches
from models.nets.evaluate import logits
from models.space.architecture import Architecture
from models.training.learning import EVAL_BATCH

LENGTHS = (1, 3)
"""Lengths of the teacher's training, in those of its students."""
ALONE = "student alone"
_RECIPE = rated(*BEST)
_STUDENTS: Mapping[str, Arm] = {ALONE: _RECIPE} | {
    f"student of the teacher trained x{times}": _RECIPE for times in LENGTHS
}
TEACHER = Question("The largest network as the teacher", _STUDENTS, ALONE, SHORT, HALF)


def taught_by(
    world: World, largest: Architecture, student: Architecture, arm: str, seed: int, runs: Runs
) -> Row:
    """A student with the stored logits of its teacher, which is trained before."""
    times = next(times for times in LENGTHS if arm.endswith(f"x{times}"))
    file = runs.folder / f"teacher-{times}.npy"
    teacher = runs.get(f"teacher-{times}", partial(_teach, world, largest, times, seed, file))
    row, _ = world.train(student, _RECIPE, TEACHER, seed, np.load(file))
    return row | {"teacher": teacher["val"]}


def _teach(world: World, largest: Architecture, times: int, seed: int, file: Path) -> Row:
    """Train the teacher; writes its logits of the training images."""
    question = replace(TEACHER, passes=times * TEACHER.passes)
    row, run = world.train(largest, _RECIPE, question, seed)
    train = eval_batches(world.images.train, world.images.info, EVAL_BATCH)
    write_array(file, logits(world.finished(run, run.average), train))
    return row


def teachers(found: Mapping[tuple[str, int], Mapping[str, Row]]) -> str:
    """The teachers' own accuracies."""
    rows = [
        (where, str(number), arm.rpartition(" ")[2], f"{100 * row['teacher']:.2f}")
        for (where, number), arms in found.items()
        for arm, row in arms.items()
        if "teacher" in row
    ]
    return table(("data", "network's seed", "teacher", "validation accuracy"), rows)
