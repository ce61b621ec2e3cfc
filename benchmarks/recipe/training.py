"""One training with one recipe, judged by validation images."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.harness.runs import Row
from benchmarks.recipe.arms import Arm, Question
from core.files import rounded
from data.stream import eval_batches
from models.nets.evaluate import logits, recalibrate
from models.nets.subnet import Subnet
from models.space.architecture import Architecture
from models.space.costs import flops
from models.space.space import SearchSpace
from models.training.learning import EVAL_BATCH, Images, NetworkParams, spread
from models.training.loop import Run, train
from models.training.objective import Objective, supervised_step
from models.training.schedule import Resizing

CALIBRATION = (8, 256)
"""Batches, and images per batch, for the batch norms of judged weights."""

DISTILLED: Mapping[str, Any] = {"distill_weight": 0.2, "temperature": 2.0}
"""Of students: the defaults of the stage train."""


def draw(space: SearchSpace, seed: int, most: float) -> Architecture:
    """A uniform sample among the networks of at most `most` multiply-accumulates."""
    rng = np.random.default_rng([seed, 0])
    while True:
        architecture = space.sample(rng)
        if flops(architecture) <= most:
            return architecture


@dataclass(frozen=True)
class World:
    """A prepared data set, with what every training and judgement of a question shares."""

    images: Images
    calibration: Sequence[Tensor]

    @classmethod
    def of(cls, images: Images, limit: int | None) -> World:
        """The data set with at most `limit` training images, evenly spaced."""
        if limit is not None:
            images = dataclasses.replace(images, train=spread(images.train, limit))
        return cls(images, images.calibration(*CALIBRATION, seed=0))

    def result(self, architecture: Architecture, arm: Arm, question: Question, seed: int) -> Row:
        """Of `train`."""
        return self.train(architecture, arm, question, seed)[0]

    def train(
        self,
        architecture: Architecture,
        arm: Arm,
        question: Question,
        seed: int,
        teacher_NK: npt.NDArray[np.float32] | None = None,
    ) -> tuple[Row, Run]:
        """Train from random weights; validation accuracy and NLL at the rungs and at the end."""
        info = self.images.info.model_copy(update={"augment": arm.augment})
        images = dataclasses.replace(self.images, info=info)
        params = NetworkParams.model_validate({"seed": seed, **arm.settings})
        steps = affordable_steps(question.passes, params)
        steps_per_epoch = len(images.train) // params.batch
        epochs, decay = steps / steps_per_epoch, 1 - 1 / (arm.averaged * steps)
        changes = {"epochs": epochs, "ema_decay": max(0.0, decay)}
        params = params.model_copy(update=changes)
        stream, recipe = images.stream(params), params.recipe(steps_per_epoch)
        network = Subnet(architecture, torch.Generator().manual_seed(seed))
        network.to(memory_format=torch.channels_last)
        run = Run(network, recipe)
        at = {round(share * recipe.steps): f"{share:g}" for share in question.rungs}
        rungs: dict[str, Row] = {}

        def report(step: int, latest: dict[str, float]) -> None:
            if step in at:
                rungs[at[step]] = self.judge(run)

        objective = Objective(architecture.classes, params.label_smoothing)
        if teacher_NK is not None:
            objective = dataclasses.replace(objective, teacher_logits_NK=teacher_NK, **DISTILLED)
        learn = supervised_step(network, objective)
        train(run, stream.at, learn, report=report)
        about = {"steps": recipe.steps, "epochs": rounded(epochs), "flops": flops(architecture)}
        about["train_loss"] = rounded(run.history[-1]["loss"])
        last = self.evaluate(self.finished(run, []))
        return {**about, "rungs": rungs, "last": last, **self.judge(run)}, run

    def judge(self, run: Run) -> Row:
        """Validation accuracy and NLL of the averaged weights."""
        return self.evaluate(self.finished(run, run.average))

    def evaluate(self, network: nn.Module) -> Row:
        """Validation accuracy and NLL in nats."""
        split = self.images.val
        batches = eval_batches(split, self.images.info, EVAL_BATCH)
        logits_NK = torch.from_numpy(logits(network, batches))
        labels_N = torch.from_numpy(np.array(split.labels_N))
        accuracy = (logits_NK.argmax(1) == labels_N).double().mean()
        nll = functional.cross_entropy(logits_NK, labels_N)
        return {"val": rounded(float(accuracy)), "nll": rounded(float(nll))}

    def finished(self, run: Run, weights: Sequence[Tensor]) -> nn.Module:
        """A copy of the network with these weights, if any, and recalibrated batch norms."""
        network = copy.deepcopy(run.module)
        with torch.no_grad():
            for parameter, mean in zip(network.parameters(), weights, strict=bool(weights)):
                parameter.copy_(mean)
        recalibrate(network, self.calibration)
        return network.eval()


def affordable_steps(passes: int, params: NetworkParams) -> int:
    """Steps that cost as much as `passes` images of full size."""
    return max(1, round(passes / params.batch / mean_cost(params)))


def mean_cost(params: NetworkParams, pixels: int = 32, steps: int = 1000) -> float:
    """Cost of a step with progressive resizing, as a share of that of full size."""
    resizing = Resizing(params.first_size, params.full_size_from)
    return float(np.mean([(resizing.pixels(s, steps, pixels) / pixels) ** 2 for s in range(steps)]))
