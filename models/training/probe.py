"""Linear probe: evaluation of features learned without labels (Pi-NAS).

A linear classifier is fitted on frozen features by ridge regression on one-hot labels. It has a
closed form without learning rate or randomness, so results depend on the features alone.
Axes: N images, C features, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.stream import Batch
from models.nets.features import subnet_features
from models.nets.subnet import Subnet

PENALTY = 0.01
"""Ridge penalty per training image, on standardised features. It regularises probes on few images
and is negligible for hundreds."""


def probe_subnet(subnet: Subnet, train: Iterable[Batch], held_out: Iterable[Batch]) -> float:
    """`probe_accuracy` of a plain network; sets it to evaluation mode."""
    subnet.eval()
    return probe_accuracy(lambda x_NCHW: subnet_features(subnet, x_NCHW)[0], train, held_out)


def probe_accuracy(
    features: Callable[[Tensor], Tensor], train: Iterable[Batch], held_out: Iterable[Batch]
) -> float:
    """Top-1 accuracy of a linear probe on held-out images.

    Args:
        features: of images (N, C, H, W), in evaluation mode, with recalibrated batch norms.
        train: images that it is fitted on.
        held_out: images that it is evaluated on.

    Raises:
        ValueError: no images to fit or evaluate on, or training images of a single class.
    """
    # Imported lazily: it takes a second and most runs do not need it.
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train_NC, train_N = _features(features, train)
    held_out_NC, held_out_N = _features(features, held_out)
    if len(np.unique(train_N)) < 2:
        raise ValueError(
            f"a linear probe needs training images of at least two classes; its {len(train_N)} "
            f"have only class {train_N[0]}. Use more images."
        )
    classifier = make_pipeline(StandardScaler(), RidgeClassifier(alpha=PENALTY * len(train_N)))
    classifier.fit(train_NC, train_N)
    return float((classifier.predict(held_out_NC) == held_out_N).mean())


@torch.inference_mode()
def _features(
    features: Callable[[Tensor], Tensor], batches: Iterable[Batch]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    rows = [(features(b.images_NCHW).double().numpy(), b.labels_N.numpy()) for b in batches]
    if not rows:
        raise ValueError("a linear probe needs at least one batch of images.")
    return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])
