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
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.search_setting import Setting, kept
from core.checkpoint import Checkpoint
from core.files import fingerprint, write_bytes, write_json
from core.settings import read_section
from data.dataset import Split
from data.images import resize_all
from data.prepare import channel_statistics
from models.nets.supernet import Supernet
from models.nets.weights import load_into, to_bytes
from models.search.algorithms.base import Algorithm
from models.search.evaluation import Evaluate, Evaluation
from models.search.loop import search
from models.space.architecture import Architecture
from models.space.costs import flops
from models.space.distribution import SCHEMA as DISTRIBUTION_SCHEMA
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.supernet.settings import SupernetParams
from models.training.supernet.training import train_supernet
from stages.search import evaluation

BACKWARD = 3
"""A training step's MACs over those of its forward pass: the usual count."""
_SUBSET = 7  # keeps the draw of images apart from other generators of one seed


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
    def made(cls, setting: Setting, seed: int, share: float, epochs: float, work: Path) -> Small:
        """Draw the images, and train a supernet on them as the stage `supernet` does.

        Args:
            setting: the large problem.
            seed: of the images, the initial weights and the paths.
            share: of the large problem's images.
            epochs: passes over the small training split.
            work: where the trained weights are kept.
        """
        images = fewer(setting.images, seed, share)
        space = same_names(setting.space, images.info.image_shape)
        section = read_section(setting.params, "supernet", SupernetParams)
        params = section.model_copy(update={"epochs": epochs, "seed": seed, "processes": 1})
        batch = min(params.batch, len(images.train))
        steps = params.recipe(len(images.train) // batch).steps
        file = work / "supernet.safetensors"
        if file.is_file():
            supernet = Supernet(space)
            load_into(supernet, file)
            return cls(images, space, supernet, steps, batch)
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


def learnt(algorithm: Algorithm, small: Small, folder: Path, costs_alone: bool) -> dict[str, Any]:
    """Search the small problem; its `distribution.json` is left in a folder.

    Args:
        algorithm: told of the LARGE problem's budgets: choices cost what the network of these
            names costs there.
        small: where they are judged.
        folder: for the distribution.
        costs_alone: tell the algorithm that all networks are equally good. What it learns is the
            budgets, and no image is looked at.

    Returns:
        The samples, their MACs and the distribution's entropy in nats.
    """
    judge = indifferent if costs_alone else batch_judge(algorithm, small.supernet, small.images)

    def work() -> dict[str, Any]:
        rows = search(algorithm, small.space.architecture, judge)
        here = algorithm.distribution
        assert here is not None
        write_json(folder / "distribution.json", DISTRIBUTION_SCHEMA, here.to_json())
        drawn = [tuple(map(int, row.choices.split())) for row in rows]
        per_image = sum(flops(small.space.architecture(choices)) for choices in drawn)
        macs = 0 if costs_alone else algorithm.problem.images * per_image
        return {"samples": algorithm.samples, "macs": macs, "entropy": here.entropy()}

    folder.mkdir(parents=True, exist_ok=True)
    return kept(folder / "search.json", work)


def batch_judge(algorithm: Algorithm, supernet: Supernet, images: Images) -> Evaluate:
    """How a search's architectures are judged, as the stage `search` does it."""
    return evaluation(algorithm, supernet, images)


def indifferent(step: int, architectures: Sequence[Architecture]) -> list[Evaluation]:
    """Every architecture is as good as any other."""
    return [Evaluation(0.0, 0.0)] * len(architectures)


def training_macs(space: SearchSpace, steps: int, batch: int, paths: int = 500) -> float:
    """MACs of a supernet's training on one uniformly random path a step, from a sample of paths."""
    rng = np.random.default_rng(0)
    return (
        BACKWARD * steps * batch * statistics.fmean(flops(space.sample(rng)) for _ in range(paths))
    )
