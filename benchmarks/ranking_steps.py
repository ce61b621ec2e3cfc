"""How many steps each strategy may train: `python -m benchmarks.ranking_steps --data D --out FILE`.

All strategies get equal wall time. Their steps are timed here in interleaved blocks, each against
single-path sampling in the same block, so that a machine that drifts favours none; the training
itself then has a fixed number of steps and gives the same weights however long it took.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from benchmarks.ranking_params import SCHEMA, read_params
from benchmarks.ranking_supernet import batches, build
from benchmarks.ranking_truth import load_space
from core.files import rounded, write_json
from core.process import prepare_machine
from core.progress import Progress
from models.training.learning import Images
from models.training.strategies import STRATEGIES

BLOCKS, STEPS, REFERENCE = 9, 8, "spos"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranking_steps", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_params()
    prepare_machine(params.supernet_threads, 0)
    images = Images.read(flags.data)
    space = load_space(images)
    made = {name: build(name, space, images, BLOCKS * STEPS, 0) for name in STRATEGIES}
    seconds: dict[str, list[float]] = {name: [] for name in made}
    with Progress("steps", BLOCKS) as progress:
        for block in range(BLOCKS):
            for name, (_, strategy, run) in made.items():
                given = batches(strategy, images, 0)
                run.module.train()
                began = time.perf_counter()
                for _ in range(STEPS):
                    run.advance(given, strategy.learn)
                seconds[name].append((time.perf_counter() - began) / STEPS)
            progress.update(block + 1, {})
    reference_s = statistics.median(seconds[REFERENCE][1:])
    strategies = {}
    for name, taken in seconds.items():
        # The first block warms up.
        ratio = statistics.median(
            a / b for a, b in zip(taken[1:], seconds[REFERENCE][1:], strict=True)
        )
        steps = max(10, round(params.supernet_seconds / (reference_s * ratio)))
        strategies[name] = {"ratio": rounded(ratio), "steps": steps}
        print(f"{name}: {ratio:.2f} of a {REFERENCE} step, {steps} steps")
    content = {
        "reference": REFERENCE,
        "reference_ms": rounded(1000 * reference_s),
        "seconds": params.supernet_seconds,
        "strategies": strategies,
    }
    write_json(flags.out, f"{SCHEMA}/steps/1", content)


if __name__ == "__main__":
    main()
