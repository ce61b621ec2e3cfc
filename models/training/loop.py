"""The training loop of supernet, teacher and final networks.

The loop owns the optimiser, the schedule, the averaged weights and the checkpoint state; the caller
provides the step function `learn`. All randomness is a pure function of the step (see `Batches`),
so a resumed run is bit-identical to an uninterrupted one.
Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from core.distributed import ALONE, Processes
from core.errors import UserError
from data.stream import Batch
from models.training.objective import Learn
from models.training.optimizer import OptimizerName, PathOptimizer
from models.training.schedule import COSINE, Schedule

_MAX_LOSS = 100.0
"""A mean loss above this many nats counts as divergence."""


Batches = Callable[[int], Batch]
"""The batch of a step: a pure function, so that resuming needs no generator state."""


class Companion(Protocol):
    """Auxiliary state that is trained and resumed with the module, such as a mean teacher."""

    def after_step(self, moved: Sequence[nn.Parameter]) -> None:
        """Update after an optimiser step that changed the parameters `moved`."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values."""

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`."""


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters: optimiser (see `PathOptimizer`), learning rate, averaging, bookkeeping.

    Attributes:
        learning_rate: peak value.
        schedule: of the learning rate.
        ema_decay: of the exponential moving average of the weights; None for none.
        accumulate: gradient accumulation steps per batch. The step equals that of the whole batch,
            except that batch norms see one part at a time.
        steps_per_epoch: steps in which every training image is seen once; None if not known.
        window: steps per row of the history.
        checkpoint_every: steps between calls of `save`.
    """

    steps: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Schedule = COSINE
    ema_decay: float | None = None
    accumulate: int = 1
    steps_per_epoch: int | None = None
    window: int = 10
    checkpoint_every: int = 50
    optimizer: OptimizerName = "sgd"

    @property
    def epochs(self) -> float | None:
        """Passes over the training split."""
        return self.epochs_of(self.steps)

    def epochs_of(self, steps: int) -> float | None:
        """Passes over the training split in so many steps."""
        return None if self.steps_per_epoch is None else steps / self.steps_per_epoch

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.schedule.rate(self.learning_rate, step, self.steps)


@dataclass
class Run:
    """State of a training run, as saved in checkpoints.

    Attributes:
        trainable: the parameters to train; None for all.
        processes: that share each batch; `batches` returns this process's share.
        step: completed steps.
        history: one row per window: step, mean loss, mean accuracy, learning rate.
    """

    module: nn.Module
    recipe: Recipe
    trainable: Iterable[nn.Parameter] | None = None
    companion: Companion | None = None
    processes: Processes = ALONE
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        chosen = self.module.parameters() if self.trainable is None else self.trainable
        self.parameters = list(chosen)
        self._weights: list[Tensor] = [*self.parameters]
        recipe = self.recipe
        self._path = PathOptimizer(
            self.parameters, recipe.momentum, recipe.weight_decay, recipe.optimizer
        )
        self.optimizer = self._path.optimizer
        self.average: list[Tensor] = []
        if self.recipe.ema_decay is not None:
            self.average = [parameter.detach().clone() for parameter in self.parameters]
        self._window: list[tuple[float, float]] = []

    def state(self) -> dict[str, Any]:
        """Tensors and plain values for `restore`."""
        return {
            "step": self.step,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "history": self.history,
            "window": [list(row) for row in self._window],
            "companion": {} if self.companion is None else self.companion.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`, on the module's device."""
        self.step = state["step"]
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        # A checkpoint is on the CPU, the average is where the weights are.
        for mean, saved in zip(self.average, state["average"], strict=True):
            mean.copy_(saved)
        self.history = list(state["history"])
        self._window = [(loss, accuracy) for loss, accuracy in state["window"]]
        if self.companion is not None:
            self.companion.restore(state["companion"])

    def advance(self, batches: Batches, learn: Learn) -> None:
        """Do one step.

        Raises:
            UserError: the loss is not finite or too large.
        """
        rate = self.recipe.rate(self.step)
        self._path.zero_grad()
        loss, accuracy = self._learn(batches(self.step), learn)
        if not math.isfinite(loss) or loss > _MAX_LOSS:
            raise UserError(
                f"training diverged at step {self.step + 1} of {self.recipe.steps}: the loss is "
                f"{loss:.4g} at learning rate {rate:.4g}. Lower learning_rate of this stage, or "
                f"raise its warmup_fraction."
            )
        self._path.step(rate)
        self._update_average()
        if self.companion is not None:
            self.companion.after_step(self._path.touched())
        self.step += 1
        self._window.append((loss, accuracy))
        if len(self._window) == self.recipe.window or self.step == self.recipe.steps:
            losses, accuracies = zip(*self._window, strict=True)
            self.history.append(
                {
                    "step": self.step,
                    "loss": sum(losses) / len(losses),
                    "accuracy": sum(accuracies) / len(accuracies),
                    "learning_rate": rate,
                }
            )
            self._window.clear()

    def _learn(self, batch: Batch, learn: Learn) -> tuple[float, float]:
        """Compute the gradients; returns mean loss and accuracy over all parts and processes."""
        pieces = parts(batch, self.recipe.accumulate)
        outcomes = [learn(self.step, piece) for piece in pieces]
        gradients = self._path.gradients()
        if len(pieces) > 1:
            torch._foreach_div_(gradients, len(pieces))
        found = torch.stack([torch.stack(list(outcome)) for outcome in outcomes]).mean(0)
        self.processes.average_([*gradients, found])
        loss, accuracy = found.tolist()
        return loss, accuracy

    def latest(self) -> dict[str, float]:
        """Loss and accuracy of the last window; empty before the first."""
        row = self.history[-1] if self.history else {}
        return {name: row[name] for name in ("loss", "accuracy") if name in row}

    @torch.no_grad()
    def use_average(self) -> None:
        """Replace the weights by their moving average, if enabled."""
        for parameter, mean in zip(self.parameters, self.average, strict=bool(self.average)):
            parameter.copy_(mean)

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.recipe.ema_decay is None:
            return
        # Lower decay in early steps, to reduce the bias towards the initial weights.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, self._weights, 1 - decay)


def parts(batch: Batch, count: int) -> list[Batch]:
    """Split a batch of a multiple of `count` images into consecutive parts."""
    if count == 1:
        return [batch]
    columns = [[None] * count if column is None else column.chunk(count) for column in batch]
    return [Batch(*row) for row in zip(*columns, strict=True)]


def train(
    run: Run,
    batches: Batches,
    learn: Learn,
    *,
    until: int | None = None,
    save: Callable[[dict[str, Any]], None] | None = None,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Train `run` from its current step on.

    Args:
        run: new, or restored.
        batches: the batch of each step.
        learn: adds the gradients of a step or of a part of its batch.
        until: steps after which to pause; None: the recipe's last step.
        save: called with the state every `checkpoint_every` steps.
        report: called after every step with the completed steps and the latest values.

    Raises:
        UserError: see `Run.advance`.
    """
    run.module.train()
    last = run.recipe.steps if until is None else until
    while run.step < last:
        run.advance(batches, learn)
        if save is not None and run.step % run.recipe.checkpoint_every == 0:
            save(run.state())
        if report is not None:
            report(run.step, run.latest())
