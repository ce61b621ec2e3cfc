"""A small problem beside a large one: fewer images, of half the height, and the same names.

What is searched on it has the choices of the large space, so that a distribution learnt here
means something there. Costs are counted in multiply-accumulates (MACs).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness.release import Release
from benchmarks.harness.runs import Row
from core.checkpoint import Checkpoint
from core.files import fingerprint, write_bytes
from data.dataset import Split
from data.images import resize_all
from data.prepare import channel_statistics
from models.nets.supernet import Supernet
from models.nets.weights import load_into, to_bytes
from models.search.algorithms.base import Algorithm
from models.search.evaluation import Evaluation, evaluation
from models.search.loop import search
from models.space.architecture import Architecture
from models.space.costs import flops
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.supernet.settings import SupernetParams
from models.training.supernet.training import train_supernet

BACKWARD = 3
"""A training step's MACs over those of its forward pass: the usual count."""
_SUBSET = 7  # separates the draw of images from other generators of the seed


@dataclass(frozen=True)
class Small:
    """A small problem, solved as far as its supernet.

    Attributes:
        images: fewer and smaller ones.
        space: that of the large problem, for them.
        supernet: trained on them.
        steps: of that training.
        batch: images in each.
    """

    images: Images
    space: SearchSpace
    supernet: Supernet
    steps: int
    batch: int

    @classmethod
    def train(cls, release: Release, seed: int, share: float, epochs: float, work: Path) -> Small:
        """Draw the images, and train a supernet on them as the stage `supernet` does.

        Args:
            release: the large problem.
            seed: of the images, the initial weights and the paths.
            share: of the large problem's images.
            epochs: passes over the small training split.
            work: where the trained weights are kept.
        """
        images = fewer(release.images, seed, share)
        space = same_names(release.space, images.info.image_shape)
        params = release.settings("supernet", SupernetParams, epochs=epochs, seed=seed, processes=1)
        batch = min(params.batch, len(images.train))
        steps = params.recipe(len(images.train) // batch).steps
        file = work / "supernet.safetensors"
        if file.is_file():
            supernet = Supernet(space)
            load_into(supernet, file)
        else:
            known = fingerprint(params.model_dump(), share, torch.get_num_threads())
            checkpoint = Checkpoint(work / "training", known)
            supernet = train_supernet(space, images, params, checkpoint)[0]
            write_bytes(file, to_bytes(supernet))
            checkpoint.clear()
        return cls(images, space, supernet, steps, batch)


def fewer(images: Images, seed: int, share: float) -> Images:
    """A share of the images at half their height, drawn from the TRAINING split alone.

    The small problem's held-out images are training images of the large one too: it never sees
    what the large search is judged on. Its test split stays empty. The resampling is that of
    `data.size`, on images as they were prepared.
    """
    channels, height, _ = images.info.image_shape
    order_N = np.random.default_rng([seed, _SUBSET]).permutation(len(images.train))
    train, held_out = round(share * len(images.train)), round(share * len(images.val))
    small = partial(_taken, images.train, height // 2)
    splits = (small(order_N[:train]), small(order_N[train : train + held_out]), small(order_N[:0]))
    mean, std = channel_statistics(splits[0].images_NHWC)
    shape = (channels, height // 2, height // 2)
    info = replace(images.info, image_shape=shape, mean=mean, std=std, counts={}, arrays={})
    return Images(info, *splits)


def _taken(split: Split, size: int, places_N: npt.NDArray[np.int64]) -> Split:
    images_NHWC = resize_all(split.images_NHWC[places_N], size)
    return Split(images_NHWC, np.array(split.labels_N[places_N]))


def same_names(space: SearchSpace, image_shape: tuple[int, int, int]) -> SearchSpace:
    """The space for smaller images than it is meant for; its groups are the same."""
    sizes = (min(space.spec.sizes[0], image_shape[1]), space.spec.sizes[1])
    spec = space.spec.model_copy(update={"sizes": sizes, "images": None})
    small = SearchSpace(spec, image_shape, space.classes)
    assert small.groups == space.groups
    return small


def search_small(algorithm: Algorithm, small: Small, costs_alone: bool) -> Row:
    """Search the small problem.

    Args:
        algorithm: with the LARGE problem's budgets: choices cost what the network of these names
            costs there.
        small: where they are evaluated.
        costs_alone: give all networks the same NLL. What the algorithm learns is the budgets, and
            no image is looked at.

    Returns:
        The distribution, the samples and their MACs.
    """
    judge = indifferent if costs_alone else evaluation(algorithm, small.supernet, small.images)
    rows, space = search(algorithm, small.space.architecture, judge), small.space
    assert algorithm.distribution is not None
    drawn = [space.architecture(tuple(map(int, row.choices.split()))) for row in rows]
    macs = 0 if costs_alone else algorithm.problem.images * sum(map(flops, drawn))
    distribution = algorithm.distribution.to_json()
    return {"samples": algorithm.samples, "macs": macs, "distribution": distribution}


def indifferent(step: int, architectures: Sequence[Architecture]) -> list[Evaluation]:
    """Every architecture is as good as any other."""
    return [Evaluation(0.0, 0.0)] * len(architectures)


def training_macs(space: SearchSpace, steps: int, batch: int, paths: int = 500) -> float:
    """MACs of a supernet's training on one uniformly random path a step, from a sample of paths."""
    rng = np.random.default_rng(0)
    return (
        BACKWARD * steps * batch * statistics.fmean(flops(space.sample(rng)) for _ in range(paths))
    )
