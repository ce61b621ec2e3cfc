"""Accuracy of training recipes at equal cost: `python -m benchmarks.recipe --work FOLDER ...`.

Networks of the spaces, drawn uniformly by tuning seeds, are trained from random weights with every
recipe at equal training FLOPs (3 x forward FLOPs x images). Judged by validation images alone: the
test split is not read. Finished trainings are kept in `--work`, so that a stopped run resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.harness.flags import flags_of, require_known
from benchmarks.harness.markdown import write_sections
from benchmarks.harness.runs import Row, Runs
from benchmarks.recipe.arms import QUESTIONS, Question
from benchmarks.recipe.report import Found, describe
from benchmarks.recipe.speed import measure
from benchmarks.recipe.teacher import ALONE, TEACHER, taught_by, teachers
from benchmarks.recipe.training import World, draw
from core.process import prepare_machine
from models.space.costs import block_flops
from models.space.file import PRESETS
from models.space.space import SearchSpace
from models.training.learning import Images

SPEED = "speed"
ALL: Mapping[str, Question] = {**QUESTIONS, "teacher": TEACHER}


@dataclass
class Trainings:
    """Trainings of networks with recipes: finished ones are read, at most `left` are begun."""

    args: argparse.Namespace
    left: int

    def of(self, question: Question) -> Iterator[tuple[str, str, int, Row]]:
        """Arm, data set, network and result; all arms of a network first."""
        for number in range(self.args.networks or question.networks):
            for data in self.args.data:
                for file in self.args.space:
                    yield from self._network(question, data, file, number)

    def _network(
        self, question: Question, data: Path, file: Path, number: int
    ) -> Iterator[tuple[str, str, int, Row]]:
        images = Images.read(data)
        space = SearchSpace.load(file, images.image_shape, len(images.classes))
        seed = self.args.seed + number
        student = draw(space, seed, self.args.flops)
        largest = space.extreme(block_flops, largest=True)
        for name, arm in question.arms.items():
            shared = (question.passes, question.images, question.rungs, student.id, seed)
            drawn = (arm.settings, arm.augment.to_json(), arm.averaged)
            runs = Runs(self.args.work, data / "dataset.json", *shared, *drawn)
            # Students are told apart by their teacher; all other arms by what is in `drawn`.
            taught = question is TEACHER and name != ALONE
            key = name if taught else "run"
            row = runs.find(key)
            if row is None and self.left > 0:
                self.left -= 1
                world = World.of(images, question.images)
                train = partial(world.result, student, arm, question, seed)
                if taught:
                    train = partial(taught_by, world, largest, student, name, seed, runs)
                row = runs.get(key, train)
            if row is not None:
                yield name, f"{data.name}, {space.name}", number, row


def answer(question: Question, trainings: Trainings) -> str:
    """Markdown of a question's finished trainings."""
    found: Found = {}
    for arm, where, number, row in trainings.of(question):
        found.setdefault((where, number), {})[arm] = row
    shown = describe(question, found)
    return f"{shown}\n\n{teachers(found)}" if question is TEACHER else shown


def main(arguments: Sequence[str] | None = None) -> None:
    parser = flags_of("recipe", __doc__, "recipe.md")
    parser.add_argument("questions", nargs="*", help=f"of {', '.join([*ALL, SPEED])}; none for all")
    parser.add_argument(
        "--data", type=Path, action="append", required=True, help="of the prepare stage; repeatable"
    )
    parser.add_argument("--space", type=Path, action="append", help="default: compact; repeatable")
    parser.add_argument("--work", type=Path, required=True, help="folder of finished trainings")
    parser.add_argument("--seed", type=int, default=1000, help="of networks, weights and batches")
    parser.add_argument("--networks", type=int, help="per space and data set; default: its own")
    parser.add_argument("--flops", type=float, default=4e6, help="of the largest network drawn")
    parser.add_argument("--runs", type=int, default=10**6, help="trainings to begin, then stop")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    args.space = args.space or [PRESETS / "compact.yaml"]
    require_known(parser, args.questions, [*ALL, SPEED])
    prepare_machine(args.threads, args.seed)
    trainings, sections = Trainings(args, args.runs), {}
    for name in args.questions or [*ALL, SPEED]:
        if name == SPEED:
            sections["Time per image"] = f"`{command(args, name)}`\n\n{speed(args)}"
            continue
        question = ALL[name]
        sections[question.heading] = f"`{command(args, name)}`\n\n{answer(question, trainings)}"
    write_sections(args.out, "Training recipes", sections)


def speed(args: argparse.Namespace) -> str:
    """Ratios of the time per image, on the first data set and space."""
    images = Images.read(args.data[0])
    space = SearchSpace.load(args.space[0], images.image_shape, len(images.classes))
    return measure(images, draw(space, args.seed, args.flops))


def command(args: argparse.Namespace, name: str) -> str:
    """The command of a section, with folders of the repository."""
    data = " ".join(f"--data artifacts/{folder.name}" for folder in args.data)
    spaces = " ".join(f"--space models/spaces/{file.name}" for file in args.space)
    numbers = f"--seed {args.seed} --flops {args.flops:g} --threads {args.threads}"
    if args.networks is not None:
        numbers = f"--networks {args.networks} {numbers}"
    return f"python -m benchmarks.recipe {name} {data} {spaces} {numbers} --work FOLDER"


if __name__ == "__main__":
    main()
