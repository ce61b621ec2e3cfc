"""Keys of `params.yaml` that earlier versions had, and what to write instead."""

from __future__ import annotations

MOVED = {
    "bundle.signing_key": "moved to the root key signing_key.",
    "supernet.pi": "moved to supernet.strategy: {name: pi, ...}.",
    "supernet.sandwich": "moved to supernet.strategy: {name: sandwich, ...}.",
    "search.learning_rate": "moved to search.algorithm: {name: fp_nas, learning_rate: ...}.",
    "search.inverse_temperature": (
        "moved to search.algorithm: {name: fp_nas, inverse_temperature: ...}."
    ),
    "search.start_weight": "moved to search.algorithm: {name: fp_nas, start_weight: ...}.",
    "search.samples_per_nat": "moved to search.algorithm: {name: fp_nas, samples_per_nat: ...}.",
    "search.min_samples": "moved to search.algorithm: {name: fp_nas, min_samples: ...}.",
    "search.max_samples": "moved to search.algorithm: {name: fp_nas, max_samples: ...}.",
    "search.coarse_fraction": "moved to search.algorithm: {name: fp_nas, coarse_fraction: ...}.",
    "search.fixed_samples": "moved to search.algorithm: {name: ALGORITHM, fixed_samples: ...}.",
    "search.evolution": "moved to search.algorithm: {name: evolution, ...}.",
    "search.exhaustive": "moved to search.algorithm: {name: exhaustive, ...}.",
    "search.annealing": "moved to search.algorithm: {name: annealing, ...}.",
    "search.hurricane": "moved to search.algorithm: {name: hurricane, ...}.",
    "search.learn_from": "removed: the search learns from each step's samples.",
    "search.stop_when_sharp": "removed: the search runs all steps.",
    "search.control_variate": "removed: it is always subtracted.",
    "search.cost_weight": "removed: only networks within the budgets are sampled.",
    "search.weights": "removed: the search does not change the supernet.",
    "rank.truth_architectures": "removed: ground truth comes from the stage race.",
    "rank.truth_steps": "removed: ground truth comes from the stage race.",
    "rank.truth_batch": "removed: ground truth comes from the stage race.",
    "rank.truth_learning_rate": "removed: ground truth comes from the stage race.",
    "rank.bootstrap": "removed: the stage race evaluates the ranking.",
    "teacher.torchvision": "moved to teacher.source: {name: torchvision, network: NAME, ...}.",
    "teacher.input": "moved to teacher.source: {name: ..., input: {pixels: ..., ...}}.",
    "fleet.per_device": (
        "removed: the stage fleet selects from the networks that the race finished."
    ),
    "fleet.images": "removed: networks are judged by their training in the race.",
    "fleet.recalibration_batches": "removed: networks are judged by their training in the race.",
    "fleet.batch": "removed: networks are judged by their training in the race.",
    "train.slice_images": "moved to train.slice.images.",
    "train.slice_difference": "moved to train.slice.difference.",
    "train.slice_agreement": "moved to train.slice.agreement.",
    "train.slice_accuracy_drop": "moved to train.slice.accuracy_drop.",
    "quantize.max_difference": "moved to quantize.limits.float32.difference.",
    "quantize.float32_agreement": "moved to quantize.limits.float32.agreement.",
    "quantize.float32_accuracy_drop": "moved to quantize.limits.float32.accuracy_drop.",
    "quantize.lower_difference": "moved to quantize.limits.lower.difference.",
    "quantize.min_agreement": "moved to quantize.limits.lower.agreement.",
    "quantize.lower_accuracy_drop": "moved to quantize.limits.lower.accuracy_drop.",
    "export.max_difference": "moved to export.limits.float32.difference.",
    "export.float32_agreement": "moved to export.limits.float32.agreement.",
    "export.float32_accuracy_drop": "moved to export.limits.float32.accuracy_drop.",
    "export.lower_difference": "moved to export.limits.lower.difference.",
    "export.min_agreement": "moved to export.limits.lower.agreement.",
    "export.lower_accuracy_drop": "moved to export.limits.lower.accuracy_drop.",
}
"""By dotted key: the rest of the error message, one sentence. An entry also covers what was below
its key."""


def moved(key: str) -> str | None:
    """What became of a key that is no longer known; None if it never existed."""
    return MOVED.get(key)
