"""Cross-path learning with a mean teacher (Peng et al. 2021, "Pi-NAS", section 3): no labels.

Axes: N images, C features, D dimensions of the projection, Q keys in the queue.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from core.settings import Named
from data.stream import Batch
from models.nets.shared_cells import SlicedNorm
from models.nets.subnet import initialise
from models.space.architecture import Architecture
from models.training.objective import Outcome
from models.training.strategies.base import PATHS, Strategy, Task, backward, last_layers

_INITIAL = 4
"""Separates the random stream of projection and initial queue from that of the supernet."""


class PiSettings(Named):
    """Of the strategy `pi`."""

    name: Literal["pi"] = "pi"
    temperature: float = Field(0.2, gt=0)
    """Of InfoNCE, as in the paper. Lower values weight the nearest negatives more."""
    dimensions: int = Field(128, ge=2)
    """Dimensions of the projected features, as in the paper."""
    queue: int = Field(8192, ge=1)
    """Keys of earlier images used as negatives; at most half of the training images, so that an
    image is rarely its own negative. Larger queues change little and cost a larger matrix product
    per step."""
    teacher_decay: float = Field(0.999, ge=0, lt=1)
    """Of the mean teacher's moving average, as in the paper. Lower in the first steps, so that
    a short training does not depend on the teacher's random initial weights."""
    supervised_weight: float = Field(0.0, ge=0, le=1)
    """Share of the cross-entropy on labels in the loss; 0 as in the paper, without labels."""
    classifier_epochs: float = Field(0.2, gt=0)
    """With a share of 0: final epochs that train only the classifier's last layer on labels,
    because all later stages need the supernet's logits."""
    classifier_min_steps: int = Field(100, ge=1)
    """Fewest steps of them, for small data sets."""


class Projection(nn.Module):
    """Two-layer projection head as in MoCo v2; not kept after training.

    In addition, its input and hidden layer have batch norm. The pooled features of a small network
    are nearly parallel, so that without it the loss stayed at chance for every learning rate tried;
    it also removes differences between the paths' means.
    """

    def __init__(
        self, width: int, dimensions: int, generator: torch.Generator, synchronised: bool
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(SlicedNorm(width) for _ in range(2))
        self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, dimensions)
        initialise(self, generator)
        for norm in self.norms:
            assert isinstance(norm, SlicedNorm)
            norm.synchronised = synchronised

    def forward(self, features_NC: Tensor) -> Tensor:
        """Features (N, C) to unit vectors (N, D)."""
        hidden_NC = self.hidden(self._normed(0, features_NC))
        out_ND = self.out(functional.relu(self._normed(1, hidden_NC)))
        return functional.normalize(out_ND, dim=1)

    def _normed(self, which: int, x_NC: Tensor) -> Tensor:
        normed_NC11: Tensor = self.norms[which](x_NC[:, :, None, None], False)
        return normed_NC11[:, :, 0, 0]


class Student(nn.Module):
    """A supernet and the projection of its features."""

    def __init__(self, task: Task, dimensions: int) -> None:
        super().__init__()
        self.supernet = task.supernet
        (width,) = {layer.weight.shape[1] for layer in last_layers(task.supernet)}
        generator = torch.Generator().manual_seed(task.seed + _INITIAL)
        synchronised = task.processes.count > 1
        self.projection = Projection(width, dimensions, generator, synchronised)
        self.projection.to(next(task.supernet.parameters()).device).train()


class CrossPath(Strategy):
    """Each step trains two different random paths on two augmentations of the same images.

    Each path must identify the mean teacher's key of the OTHER path among negatives: the loss is
    the mean of InfoNCE(q0, k1) and InfoNCE(q1, k0). So layers become consistent across preceding
    paths (feature shift), and targets change slowly (parameter shift). After the optimiser step the
    teacher's moving average is updated on the sampled paths only, and the normalised mean of k0 and
    k1 replaces the oldest keys of the queue.

    The reported accuracy is the share of images whose key is identified among the negatives.
    """

    settings_type = PiSettings
    views = 2

    def __init__(self, task: Task, settings: PiSettings) -> None:
        super().__init__(task, settings)
        self.settings = settings
        self.student = Student(task, settings.dimensions)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).train()
        device = next(task.supernet.parameters()).device
        keys = max(1, min(settings.queue, task.images // 2))
        generator = torch.Generator().manual_seed(task.seed + _INITIAL)
        drawn_QD = torch.randn(keys, settings.dimensions, generator=generator)
        self.queue_QD = functional.normalize(drawn_QD, dim=1).to(device)
        self.oldest = 0
        self.steps = 0
        self._new_keys: list[Tensor] = []
        pairs = zip(self.student.parameters(), self.teacher.parameters(), strict=True)
        self._followers = {id(student): teacher for student, teacher in pairs}

    @property
    def classifies(self) -> bool:
        """Whether the loss includes labels."""
        return self.settings.supervised_weight > 0

    def classifier_steps(self, steps_per_epoch: int) -> int:
        """Final steps that train only the classifier, unless the loss includes labels."""
        if self.classifies:
            return 0
        steps = round(self.settings.classifier_epochs * steps_per_epoch)
        return max(self.settings.classifier_min_steps, steps)

    def trainable(self) -> list[nn.Parameter]:
        """The supernet and the projection."""
        return list(self.student.parameters())

    def paths(self, step: int) -> tuple[Architecture, ...]:
        """Two different random architectures.

        Raises:
            ValueError: the space has only one.
        """
        if self.space.count() < 2:
            raise ValueError(
                f"strategy 'pi' compares two paths, but space '{self.space.name}' has only one. "
                "Choose another strategy or give the space options."
            )
        rng = np.random.default_rng([self.task.seed, PATHS, step])
        first = second = self.space.sample(rng)
        while second == first:
            second = self.space.sample(rng)
        return (first, second)

    def learn(self, step: int, batch: Batch) -> Outcome:
        """Run forward and backward of both paths against the teacher's keys."""
        assert batch.second_NCHW is not None, "this strategy has two views"
        paths, views = self.paths(step), (batch.images_NCHW, batch.second_NCHW)
        with torch.no_grad():
            keys = [self._keys(view, path) for view, path in zip(views, paths, strict=True)]
        losses, found = [], []
        for view, path, key_ND in zip(views, paths, reversed(keys), strict=True):
            features_NC, logits_NK = self.forward_path(self.supernet, view, path)
            contrast, right_N = self._contrast(self.student.projection(features_NC), key_ND)
            share = self.settings.supervised_weight
            loss = contrast
            if share > 0:
                loss = (1 - share) * contrast + share * self.objective(logits_NK, batch)
            backward(0.5 * loss)
            losses.append(loss.detach())
            found.append(right_N.float().mean())
        self._new_keys.append(functional.normalize(keys[0] + keys[1], dim=1))
        return Outcome(torch.stack(losses).mean(), torch.stack(found).mean())

    @torch.no_grad()
    def after_step(self, moved: Sequence[nn.Parameter]) -> None:
        """Update the teacher's moving average on the sampled paths, and the queue."""
        self.steps += 1
        decay = min(self.settings.teacher_decay, (1 + self.steps) / (10 + self.steps))
        followers: list[Tensor] = [self._followers[id(parameter)] for parameter in moved]
        torch._foreach_lerp_(followers, [*moved], 1 - decay)
        keys_ND = self.task.processes.gather(torch.cat(self._new_keys))[-len(self.queue_QD) :]
        places = (self.oldest + torch.arange(len(keys_ND))) % len(self.queue_QD)
        self.queue_QD[places] = keys_ND
        self.oldest = (self.oldest + len(keys_ND)) % len(self.queue_QD)
        self._new_keys.clear()

    def state(self) -> dict[str, Any]:
        """Teacher, projection and queue."""
        return {
            "projection": self.student.projection.state_dict(),
            "teacher": self.teacher.state_dict(),
            "queue": self.queue_QD,
            "oldest": self.oldest,
            "steps": self.steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from `state`."""
        self.student.projection.load_state_dict(state["projection"])
        self.teacher.load_state_dict(state["teacher"])
        self.queue_QD.copy_(state["queue"])
        self.oldest, self.steps = state["oldest"], state["steps"]

    def _keys(self, images_NCHW: Tensor, path: Architecture) -> Tensor:
        seen = self.forward_path(self.teacher.supernet, images_NCHW, path, update_statistics=False)
        keys_ND: Tensor = self.teacher.projection(seen.features_NC)
        return keys_ND

    def _contrast(self, query_ND: Tensor, key_ND: Tensor) -> tuple[Tensor, Tensor]:
        """InfoNCE loss and, per image, whether its own key is nearer than all negatives."""
        positive_N1 = (query_ND * key_ND).sum(1, keepdim=True)
        negative_NQ = query_ND @ self.queue_QD.T
        scores = torch.cat([positive_N1, negative_NQ], 1) / self.settings.temperature
        right_N = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
        return functional.cross_entropy(scores, right_N), scores.detach().argmax(1) == 0
