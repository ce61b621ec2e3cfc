"""`netwright predict`: labels of images, from the bundle alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.common import FAILED, BundleFile, Failure


def predict(
    bundle: BundleFile,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...")],
) -> None:
    """Print label and probability of each image, from the bundle alone."""
    from bundles.archive import BundleError
    from bundles.check.run import predict as predict_images
    from devices.device import DeviceError

    try:
        results = predict_images(bundle, images)
    except (BundleError, DeviceError) as error:
        raise Failure(FAILED, str(error)) from error
    for image, (label, probability) in zip(images, results, strict=True):
        print(f"{image}\t{label}\t{probability:.4f}")
