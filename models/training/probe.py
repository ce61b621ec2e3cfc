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

from models.nets.batch import LabelledImages
from models.nets.features import subnet_features
from models.nets.subnet import Subnet

PENALTY = 0.01
"""Ridge penalty per training image, on standardised features. It regularises probes on few images
and is negligible for hundreds."""

Features = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) to features (N, C)."""


def probe_accuracy(
    features: Features,
    train: Iterable[LabelledImages],
    held_out: Iterable[LabelledImages],
    penalty: float = PENALTY,
) -> float:
    """Top-1 accuracy of a linear probe on held-out images.

    Args:
        features: frozen, in evaluation mode, with recalibrated batch norms.
        train: labelled training images.
        held_out: labelled images not used in the fit.
        penalty: ridge penalty per training image.

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
    classifier = make_pipeline(StandardScaler(), RidgeClassifier(alpha=penalty * len(train_N)))
    classifier.fit(train_NC, train_N)
    return float((classifier.predict(held_out_NC) == held_out_N).mean())


def probe_subnet(
    subnet: Subnet, train: Iterable[LabelledImages], held_out: Iterable[LabelledImages]
) -> float:
    """`probe_accuracy` of a plain network; sets it to evaluation mode."""
    subnet.eval()
    return probe_accuracy(lambda x_NCHW: subnet_features(subnet, x_NCHW)[0], train, held_out)


@torch.inference_mode()
def _features(
    features: Features, batches: Iterable[LabelledImages]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    rows = [(features(b.images_NCHW).double().numpy(), b.labels_N.numpy()) for b in batches]
    if not rows:
        raise ValueError("a linear probe needs at least one batch of images.")
    return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])
