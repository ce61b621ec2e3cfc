"""A search from its checkpoint to its end, with progress."""

from __future__ import annotations

from collections.abc import Sequence

from core.checkpoint import Checkpoint
from core.progress import Progress
from models.search.algorithms.base import Algorithm
from models.search.evaluation import Evaluate
from models.search.loop import Row, Snapshot, search
from models.space.space import SearchSpace


def run_search(
    algorithm: Algorithm,
    space: SearchSpace,
    evaluate: Evaluate,
    checkpoint: Checkpoint,
) -> list[Row]:
    """Run the search from the checkpoint, saving and reporting progress."""
    params = algorithm.params
    state = checkpoint.load()
    resume = None if state is None else Snapshot.restored(state)
    start = 0 if resume is None else int(resume.algorithm["step"])
    with Progress("search", params.steps, start) as progress:

        def after_step(snapshot: Snapshot) -> None:
            step = int(snapshot.algorithm["step"])
            if step % params.checkpoint_every == 0:
                checkpoint.save(snapshot.state())
            progress.update(step, summary(snapshot.rows))

        return search(algorithm, space.architecture, evaluate, resume, after_step)


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Values of the last step for its progress line."""
    last = [row for row in rows if row.step == rows[-1].step]
    values = [row.value if row.nll is None else row.nll for row in last]
    shown = {"value" if last[0].nll is None else "nll": sum(values) / len(values)}
    if last[0].entropy is not None:
        shown["entropy"] = last[0].entropy
    return shown | {
        "samples": len(rows),
        "over_budget": sum(row.excess for row in last) / len(last),
    }
