"""A worker process of data-parallel training, started by a test with an output file.

Double precision, so that differences between one and two processes are not due to rounding.
"""

import sys
from typing import Any

import torch

from core.distributed import ALONE, Processes, join
from data.stream import TrainStream
from models.training.loop import Recipe, Run, train
from tests.conformance.strategies import BATCH, INFO, bars, make

STEPS = 4


def learn(name: str, processes: Processes = ALONE) -> dict[str, Any]:
    """Full state after some steps of a strategy on this process's share of the batches."""
    torch.set_default_dtype(torch.float64)
    try:
        share = (processes.rank, processes.count)
        stream = TrainStream(bars(), INFO, BATCH, 0, True, share)
        strategy = make(name, processes=processes)
        recipe = Recipe(STEPS, 0.05, weight_decay=1e-3, window=1)
        run = Run(strategy.supernet, recipe, strategy.trainable(), strategy, processes)

        def batch(step: int) -> Any:
            found = stream.at(step, strategy.views)
            second = found.second_NCHW
            return found._replace(
                images_NCHW=found.images_NCHW.double(),
                second_NCHW=None if second is None else second.double(),
            )

        train(run, batch, strategy.learn)
        return run.state()
    finally:
        torch.set_default_dtype(torch.float32)


if __name__ == "__main__":
    torch.set_num_threads(1)
    joined = join("supernet", 2, torch.device("cpu"))
    torch.save({name: learn(name, joined) for name in sys.argv[2:]}, f"{sys.argv[1]}.{joined.rank}")
    joined.leave()
