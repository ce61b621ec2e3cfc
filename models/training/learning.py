"""Shared by the training stages: params, data, resuming, progress, history."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from core.checkpoint import Checkpoint
from core.progress import Progress
from core.settings import Threaded
from data.dataset import DatasetInfo, Split, SplitName, read_split
from data.stream import TrainStream, eval_batches
from models.nets.evaluate import accuracy
from models.training.loop import Batches, Recipe, Run, train
from models.training.objective import Learn, Mixup
from models.training.schedule import Resizing, Schedule, ScheduleName

MOST_ADAMW = 0.02
"""Largest learning rate of AdamW: every weight moves by up to this much per step."""
EVAL_BATCH = 500
"""Images per forward pass in evaluation; results do not depend on it."""


class LearningParams(Threaded):
    """How a stage trains: batches, learning rate, resuming."""

    epochs: float = Field(1.0, gt=0)
    """Passes over the training split; fractions are allowed."""
    min_steps: int = Field(1, ge=1)
    """Fewest steps, whatever `epochs` says: an epoch of a small data set is only a few steps."""
    batch: int = Field(64, ge=2)
    """Images per step."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov momentum, or AdamW, which wants a learning rate near 0.002 (steps of about
    its size in every weight)."""
    learning_rate: float = Field(0.1, gt=0)
    """Highest learning rate, reached after the warm-up."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD, 0 for none; AdamW's beta1."""
    weight_decay: float = Field(0.00005, ge=0)
    """Of convolutions and fully connected layers; not of batch norms and biases."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of each target spread over all classes."""
    warmup_fraction: float = Field(0.1, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""
    schedule: ScheduleName = "cosine"
    """Decay of the learning rate to zero after the warm-up: cosine; linear (one cycle); trapezoid:
    constant, then linear in the last steps."""
    cooldown_fraction: float = Field(0.2, gt=0, le=1)
    """Share of the steps in which the trapezoid's learning rate falls."""
    checkpoint_every: int = Field(200, ge=1)
    """Steps between two checkpoints."""

    @model_validator(mode="after")
    def _suits_the_optimizer(self) -> Self:
        if self.optimizer == "adamw" and self.learning_rate > MOST_ADAMW:
            raise ValueError(
                f"learning_rate {self.learning_rate:g} is for sgd, and too high for adamw: try "
                f"0.002; at most {MOST_ADAMW:g}"
            )
        return self

    def recipe(self, steps_per_epoch: int) -> Recipe:
        """The recipe for a training split that gives this many steps per epoch."""
        steps = max(self.min_steps, round(self.epochs * steps_per_epoch))
        return Recipe(
            steps=steps,
            steps_per_epoch=steps_per_epoch,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=Schedule(self.schedule, self.warmup_fraction, self.cooldown_fraction),
            window=max(1, steps // 50),
            checkpoint_every=self.checkpoint_every,
            optimizer=self.optimizer,
        )

    def pixels(self, steps: int, full: int) -> Callable[[int], int] | None:
        """Height and width of the images by step; None: `full` throughout."""
        return None


class NetworkParams(LearningParams):
    """How one network is trained, from a slice of the supernet or from fresh weights."""

    mixup_alpha: float = Field(0.0, ge=0)
    """Alpha of the Beta distribution of mixup's shares; 0 disables mixup."""
    first_size: float = Field(1.0, gt=0, le=1)
    """Height and width of the images in the first step, as a share of the data set's; they grow to
    full size (progressive resizing). 1: full size throughout."""
    full_size_from: float = Field(0.5, gt=0, le=1)
    """Share of the steps after which images have full size."""
    slice_share: float | None = Field(None, ge=0, le=1)
    """Share of the supernet slice in the initial weights: 1 the slice, 0 random weights; null: 1 if
    the supernet started from given weights (`supernet.start_from` is not none), else 0.2."""
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """Decay per step of the averaged weights, which are the result; 0: the last weights."""
    recalibration_batches: int = Field(32, ge=1)
    """Training batches for the final batch norms' statistics."""

    def recipe(self, steps_per_epoch: int) -> Recipe:
        """The recipe, with averaged weights."""
        recipe = super().recipe(steps_per_epoch)
        return dataclasses.replace(recipe, ema_decay=self.ema_decay)

    def pixels(self, steps: int, full: int) -> Callable[[int], int] | None:
        """Height and width of the images by step; they grow to `full`."""
        if self.first_size == 1:
            return None
        resizing = Resizing(self.first_size, self.full_size_from)
        return lambda step: resizing.pixels(step, steps, full)

    @property
    def mixup(self) -> Mixup | None:
        """Mixup settings; None if disabled."""
        return Mixup(self.mixup_alpha, self.seed) if self.mixup_alpha else None


@dataclass(frozen=True)
class Images:
    """An open prepared data set."""

    info: DatasetInfo
    train: Split
    val: Split
    test: Split

    @classmethod
    def read(cls, folder: Path) -> Images:
        """Open the folder written by the prepare stage.

        Raises:
            UserError: something is missing or corrupt.
        """
        info = DatasetInfo.read(folder)
        train, val, test = (read_split(folder, name) for name in ("train", "val", "test"))
        return cls(info, train, val, test)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.info.image_shape

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in label order."""
        return self.info.classes

    def stream(self, params: LearningParams, share: tuple[int, int] = (0, 1)) -> TrainStream:
        """Augmented training batches, or this process's share of each (see `TrainStream`)."""
        stream = TrainStream(self.train, self.info, params.batch, params.seed, True, share)
        steps = params.recipe(stream.steps_per_epoch).steps
        stream.pixels = params.pixels(steps, self.image_shape[-1])
        return stream

    def calibration(self, batches: int, batch: int, seed: int) -> list[Tensor]:
        """Training images without augmentation, for batch norm statistics."""
        stream = TrainStream(self.train, self.info, batch, seed, augment=False)
        return [stream.at(step).images_NCHW for step in range(batches)]

    def accuracy(self, network: nn.Module, split: SplitName, limit: int | None = None) -> float:
        """Top-1 accuracy on (evenly spread images of) a split; sets evaluation mode."""
        images = {"train": self.train, "val": self.val, "test": self.test}[split]
        subset = images if limit is None else spread(images, limit)
        return accuracy(network.eval(), eval_batches(subset, self.info, EVAL_BATCH))


def spread(split: Split, limit: int) -> Split:
    """At most `limit` images of a split, evenly spaced."""
    stride = -(-len(split) // limit)
    return Split(split.images_NHWC[::stride], split.labels_N[::stride])


def learn_with_checkpoints(
    title: str, run: Run, batches: Batches, learn: Learn, checkpoint: Checkpoint
) -> None:
    """Train `run` to its end with progress, resuming from the checkpoint if there is one.

    The final state is saved too, so that a later kill loses no training. All processes read the
    checkpoint; only the first one writes and reports.
    """
    state = checkpoint.load()
    if state is not None:
        run.restore(state)
    resumed_at = run.step
    if not run.processes.first:
        train(run, batches, learn)
        return
    with Progress(title, run.recipe.steps, start=resumed_at) as progress:

        def report(step: int, values: dict[str, float]) -> None:
            epoch = run.recipe.epochs_of(step)
            progress.update(step, values if epoch is None else {"epoch": epoch, **values})

        train(run, batches, learn, save=checkpoint.save, report=report)
    if run.step != resumed_at:
        checkpoint.save(run.state())
