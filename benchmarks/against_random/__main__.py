"""Is a race's answer better than a random network of the same cost, after the same training?

`python -m benchmarks.against_random --data FOLDER --work FOLDER`

Independent answers, each with a supernet, a search, a ranking and a race of its own, against
uniformly random networks of the same band of multiply-accumulates. All networks are trained with
one recipe from fresh weights, each answer and each random network with a seed of its own. Test
images decide nothing: they only judge the networks of both arms at the end.

The data folder is that of the stage `prepare`. A stopped benchmark resumes; with `--part` several
processes share the work, and any of them reports what is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.against_random.answers import Setting, draw_random, raced_answer, random_answer
from benchmarks.against_random.halving import describe
from benchmarks.against_random.report import report
from benchmarks.harness.flags import PARAMS, flags_of, space_file
from benchmarks.harness.markdown import write_sections
from benchmarks.harness.presets import TORCH
from benchmarks.harness.release import settings
from benchmarks.harness.runs import Row, Runs
from core.process import prepare_machine
from models.search.race.settings import RaceParams
from models.space.space import SearchSpace
from models.training.learning import Images

RANDOM_SEED = 5000
"""Seed of the first random network; those of the answers are lower."""


def main() -> None:
    args = _flags()
    prepare_machine(args.threads, 0)
    images = Images.read(args.data)
    space = SearchSpace.load(args.space, images.image_shape, len(images.classes))
    race = settings(
        PARAMS,
        "race",
        RaceParams,
        candidates=args.candidates,
        from_search=args.from_search,
        guided=args.guided,
    )
    inputs = (args.budget, args.epochs, args.supernet_epochs, args.steps, race.model_dump())
    runs = Runs(
        args.work, args.data / "dataset.json", args.space.read_text(), args.rank_images, *inputs
    )
    setting = Setting(
        images,
        space,
        round(args.budget * 1e6),
        args.epochs,
        args.supernet_epochs,
        args.steps,
        race,
        args.rank_images,
        runs.folder,
    )
    answers, chance = _run(runs, setting, args)
    if not answers or not chance:
        print("Nothing to compare yet: each arm needs a finished run.")
        return
    about = (
        f"`python -m benchmarks.against_random --data FOLDER --work FOLDER {_command(args)}`, "
        f"{TORCH}. {len(images.train):,} images to train, {len(images.val):,} to validate, "
        f"{len(images.test):,} to test."
    )
    heading = f"`{args.space.stem}`, {args.budget:g} MMACs, {args.name}"
    text = f"{about}\n\n{report(answers, chance, (args.answers, args.random))}"
    sections = {heading: text, f"{heading}: ending trainings early": describe(chance, race)}
    write_sections(args.out, "Is a race's answer better than a random network?", sections)


def _run(runs: Runs, setting: Setting, args: argparse.Namespace) -> tuple[list[Row], list[Row]]:
    """Run this process's part; all finished rows of both arms."""
    part, parts = args.part
    networks = draw_random(setting, args.random, RANDOM_SEED)
    arms = {
        f"random-{n}": partial(random_answer, setting, RANDOM_SEED + n, network)
        for n, network in enumerate(networks)
    }
    arms |= {f"answer-{n}": partial(raced_answer, setting, n) for n in range(args.answers)}
    for number, (name, run) in enumerate(arms.items()):
        if number % parts == part:
            runs.get(name, run)
    found = {name: runs.find(name) for name in arms}
    rows = {name: row for name, row in found.items() if row is not None}
    return (
        [row for name, row in rows.items() if name.startswith("answer")],
        [row for name, row in rows.items() if name.startswith("random")],
    )


def _command(args: argparse.Namespace) -> str:
    words = (
        *("budget", "answers", "random", "epochs", "supernet_epochs", "steps"),
        *("rank_images", "candidates", "from_search", "guided"),
    )
    flags = " ".join(f"--{word.replace('_', '-')} {getattr(args, word):g}" for word in words)
    return f"--space {args.space.stem} {flags}"


def _part(text: str) -> tuple[int, int]:
    part, parts = (int(word) for word in text.split("/"))
    if not 1 <= part <= parts:
        raise ValueError
    return part - 1, parts


def _flags(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = flags_of("against_random", __doc__, "against-random.md")
    parser.add_argument("--data", type=Path, required=True, help="prepared images")
    parser.add_argument("--name", default="CIFAR-10", help="of the images, for the page")
    parser.add_argument("--work", type=Path, required=True, help="folder of finished runs")
    parser.add_argument("--space", type=space_file, default="wide", help="a preset, or a YAML file")
    parser.add_argument("--budget", type=float, default=12.5, help="million multiply-accumulates")
    parser.add_argument("--answers", type=int, default=8, help="independent searches with a race")
    parser.add_argument("--random", type=int, default=12, help="random networks")
    parser.add_argument("--epochs", type=float, default=0.75, help="of a network's training")
    parser.add_argument("--supernet-epochs", type=float, default=0.75)
    parser.add_argument("--steps", type=int, default=20, help="of every search")
    parser.add_argument("--rank-images", type=int, default=2000, help="validation images of `rank`")
    parser.add_argument("--candidates", type=int, default=8, help="of the first rung")
    parser.add_argument("--from-search", type=int, default=2, help="of them from the ranking")
    parser.add_argument("--guided", type=int, default=2, help="proposed after the first rung")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--part", type=_part, default=(0, 1), help="1/2: the first half of the runs"
    )
    return parser.parse_args(given)


if __name__ == "__main__":
    main()
