"""Kill -9 the whole graph on `digits`, again and again, and see that it resumes to the same hashes.

    python -m tests.slow.kill_anywhere --kills 100 --seed 0 --folder /tmp/kills

One run, killed at random moments until it ends by itself, is a round; rounds follow until
there were enough kills. A stage that had the same inputs as in the reference, a run nobody killed,
has to have the same outputs, unless it measures time. Every second round starts from the
reference's latency tables, so that what follows from them is compared, too. The first
failure ends it with exit code 1, and leaves the folder as it is.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from tests.support import Repository, copy_repository, kill_tree, on_digits

MEASURING = ("profile", "quantize", "export", "bundle", "release")
ALWAYS = ("fetch", "prepare", "supernet", "teacher")
"""Stages that depend on no measurement: they are compared in every round."""
PER_ROUND = 8
"""About how many kills a round takes: the mean life of a run is so small a share of a whole one."""
LONGEST_S = 3600.0


class LostError(Exception):
    """A run did not resume, or not to the same hashes."""


@dataclass
class Count:
    """What happened so far."""

    kills: int = 0
    rounds: int = 0
    torn: int = 0
    compared: int = 0


def main() -> int:
    """Parse the flags, kill, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    flags = parser.parse_args()
    count = Count()
    try:
        kill_anywhere(flags.folder, flags.kills, random.Random(flags.seed), count)
    except LostError as error:
        print_count(count)
        print(f"error: {error}\nAll is left in {flags.folder}.", file=sys.stderr)
        return 1
    shutil.rmtree(flags.folder)
    print_count(count)
    return 0


def kill_anywhere(folder: Path, kills: int, rng: random.Random, count: Count) -> None:
    """Make the reference, then rounds of killed runs until there were enough kills.

    Raises:
        LostError: the first time that something is lost.
    """
    reference = on_digits(copy_repository(folder / "reference"))
    began = time.monotonic()
    code, output = reference.netwright("run", "--jobs", "2", timeout=LONGEST_S)
    if code != 0:
        raise LostError(f"the reference itself fails:\n{output}")
    whole_s = time.monotonic() - began
    print(f"reference: {len(reference.locked)} stages in {whole_s:.0f} s", flush=True)
    while count.kills < kills:
        count.rounds += 1
        repository = on_digits(copy_repository(folder / f"round-{count.rounds}"))
        if count.rounds % 2 == 0:
            start_from_its_tables(reference, repository)
        left = kills - count.kills
        killed_run(repository, rng, 2 * whole_s / PER_ROUND, left, count)
        compare(reference.locked, repository.locked, count)
        shutil.rmtree(repository.root)


def killed_run(
    repository: Repository, rng: random.Random, longest_s: float, kills: int, count: Count
) -> None:
    """Run, kill, run again, until a run ends by itself; the last is not killed."""
    for _ in range(kills):
        child = repository.start("-m", "pipelines", "run", "--jobs", "2")
        delay = rng.uniform(0, longest_s)
        try:
            output, _ = child.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            kill_tree(child.pid)
            output, _ = child.communicate()
            count.kills += 1
            note(repository, output, count)
            done = len(repository.locked) if whole(repository) else "?"
            print(
                f"kill {count.kills}: round {count.rounds}, after {delay:.1f} s, {done} done",
                flush=True,
            )
            continue
        note(repository, output, count)
        if child.returncode != 0:
            raise LostError(f"{repository.root} does not resume:\n{output}")
        return
    code, output = repository.netwright("run", "--jobs", "2", timeout=LONGEST_S)
    note(repository, output, count)
    if code != 0:
        raise LostError(f"{repository.root} does not resume:\n{output}")


def note(repository: Repository, output: str, count: Count) -> None:
    """Count the half-written lock files that were put right."""
    count.torn += "half-written" in output
    if "Traceback" in output:
        raise LostError(f"{repository.root} shows a traceback:\n{output}")


def whole(repository: Repository) -> bool:
    """Whether there is a record that can be read."""
    try:
        return bool(repository.locked)
    except Exception:  # noqa: BLE001 - a half-written file fails in many ways, and is what we seek
        return False


def compare(reference: Mapping[str, Any], found: Mapping[str, Any], count: Count) -> None:
    """Compare the outputs of the stages that had the same inputs.

    Raises:
        LostError: one differs, or a stage is missing.
    """
    if reference.keys() != found.keys():
        raise LostError(f"other stages are done: {sorted(reference.keys() ^ found.keys())}")
    for name, expected in reference.items():
        kind, inputs = name.partition("@")[0], ("cmd", "deps", "params")
        same = all(expected.get(key) == found[name].get(key) for key in inputs)
        if kind in ALWAYS and not same:
            raise LostError(f"{name} had other inputs than the reference: {found[name]}")
        if kind in MEASURING or not same:
            continue
        if expected["outs"] != found[name]["outs"]:
            raise LostError(f"{name} has other outputs: {expected['outs']}, {found[name]['outs']}")
        count.compared += 1


def start_from_its_tables(source: Repository, target: Repository) -> None:
    """Give `target` the measured tables, as DVC would pull them: lock entries, files, cache."""
    profiles = {name: row for name, row in source.locked.items() if name.startswith("profile@")}
    with (target.root / "dvc.lock").open("w") as file:
        YAML().dump({"schema": "2.0", "stages": profiles}, file)
    shutil.copytree(source.root / "artifacts/profile", target.root / "artifacts/profile")
    cache = Path(".dvc/cache/files")  # without `runs`, which would spare DVC the work
    shutil.copytree(source.root / cache, target.root / cache)


def print_count(count: Count) -> None:
    """Print what happened."""
    table = Table(title="kill -9 anywhere")
    for heading in ("kills", "rounds", "half-written records mended", "outputs compared"):
        table.add_column(heading, justify="right")
    table.add_row(*map(str, (count.kills, count.rounds, count.torn, count.compared)))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
