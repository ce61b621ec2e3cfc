"""Run this bundle's network. Needs only NumPy and the device's runtime.

    python run.py [verify]            check the files and the golden outputs
    python run.py image.npy ...       classify uint8 arrays of shape (height, width, channels)
    python run.py --min-confidence P image.npy ...
                                      answer `unsure` where no class is as probable as P
    python run.py --portable ...      the same, with the portable ONNX file in ONNX Runtime

Exit codes: 0 success; 1 an output or a file does not match; 2 usage error.
Axes: N images (1 here), H height, W width, C channels, K classes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.runtimes.onnxruntime.session import OnnxRuntimeSession  # inlined in a bundle
from devices.runtimes.session import Session, SessionError

HERE = Path(__file__).resolve().parent
MEAN_SHARE = 0.1  # of the tolerance: a wrong network changes most logits, rounding few
RUNTIME: type[Session] = OnnxRuntimeSession
"""The device's runtime."""
Float32 = npt.NDArray[np.float32]


def main() -> int:
    """Parse the command line, then verify or classify."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", nargs="*", type=Path, help="uint8 .npy files (H, W, C)")
    parser.add_argument("--portable", action="store_true", help="use the ONNX file")
    parser.add_argument("--min-confidence", type=float, default=0.0, metavar="P", help="0 to 1")
    flags = parser.parse_args()
    if not 0 <= flags.min_confidence <= 1:
        parser.error(f"--min-confidence must lie between 0 and 1, not {flags.min_confidence:g}")
    if isinstance(sys.stdout, io.TextIOWrapper):  # the terminal may not encode all labels
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        manifest = read("manifest.json")
        check_files(manifest)
        network = load(manifest, flags.portable)
        if flags.images in ([], [Path("verify")]):
            check_golden(network)
        else:
            classify(flags.images, network, flags.min_confidence)
    except (ImportError, ValueError, OSError, KeyError) as error:
        by_runtime = isinstance(error, SessionError) and not flags.portable
        hint = "; --portable runs the ONNX file" if by_runtime else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        return 1
    return 0


def read(name: str) -> dict[str, Any]:
    """Read one of the bundle's JSON files."""
    content: dict[str, Any] = json.loads((HERE / name).read_text(encoding="utf-8"))
    return content


def check_files(manifest: dict[str, Any]) -> None:
    """Check the manifest's digest and every file's SHA-256."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != manifest["digest"]:
        raise ValueError("manifest.json was changed after it was written")
    for name, expected in sorted(manifest["files"].items()):
        if hashlib.sha256((HERE / name).read_bytes()).hexdigest() != expected:
            raise ValueError(f"{name} is not the file that was bundled; unpack the bundle again")


def preprocess(images_NHWC: npt.NDArray[np.uint8]) -> Float32:
    """Convert uint8 images (N, H, W, C) to the network's float32 input (N, C, H, W).

    If the data set has 16-bit images, uint16 images are converted to 8 bits in the same way.
    """
    how = read("preprocess.json")
    channels, height, width = how["image_shape"]
    if images_NHWC.dtype == np.uint16 and "bits" in how:
        images_NHWC = np.minimum(images_NHWC >> (how["bits"] - 8), 255).astype(np.uint8)
    if images_NHWC.dtype != np.uint8 or images_NHWC.shape[1:] != (height, width, channels):
        raise ValueError(
            f"an image must be uint8 of shape {(height, width, channels)}, "
            f"not {images_NHWC.dtype} of shape {images_NHWC.shape[1:]}"
        )
    scaled = images_NHWC.astype(np.float32) / np.float32(how["scale"])
    normal = (scaled - np.array(how["mean"], np.float32)) / np.array(how["std"], np.float32)
    return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))


def classify(paths: list[Path], network: Session, least: float) -> None:
    """Print the most probable class of every image and its probability.

    Below the probability `least` the answer is `unsure`; what that does is written to stderr.
    """
    labels, quality = read("labels.json")["labels"], read("quality.json")
    if least > 0:
        row = max((r for r in quality["answers"] if r["threshold"] <= least), key=threshold_of)
        risk = "none" if row["risk"] is None else f"{row['risk']:.2%}"
        print(
            f"note: with confidence {row['threshold']:g} or more, {row['coverage']:.2%} of "
            f"{quality['val_images']:,} validation images are answered, and {risk} of the answers "
            "are wrong.",
            file=sys.stderr,
        )
    for path in paths:
        image_HWC = np.load(path, allow_pickle=False)
        logits_K = network(preprocess(image_HWC[np.newaxis]))[0].astype(np.float64)
        weights_K = np.exp((logits_K - logits_K.max()) / quality["temperature"])
        best, share = int(logits_K.argmax()), float(weights_K.max() / weights_K.sum())
        print(f"{path}: {labels[best] if share >= least else 'unsure'} {share:.4f}")


def threshold_of(row: dict[str, Any]) -> float:
    """Return the threshold of a row of `quality.json`."""
    return float(row["threshold"])


def check_golden(network: Session) -> None:
    """Compare the network's outputs with the golden outputs."""
    with np.load(HERE / "golden.npz", allow_pickle=False) as golden:
        tolerance = float(golden["tolerance"])
        inputs_NCHW = preprocess(golden["images"])
        if not np.abs(inputs_NCHW - golden["inputs"]).max() <= 1e-4:
            raise ValueError("preprocessing does not reproduce the golden inputs")
        outputs_NK = np.concatenate([network(row[np.newaxis]) for row in golden["inputs"]])
        off_NK = np.abs(outputs_NK - golden["outputs"])
    difference, mean, allowed = off_NK.max(), off_NK.mean(), MEAN_SHARE * tolerance
    # `not <=`, so that NaN fails.
    if not difference <= tolerance:
        raise ValueError(f"golden outputs differ by {difference:.4g}; {tolerance:.4g} is allowed")
    if not mean <= allowed:
        raise ValueError(f"golden outputs differ by {mean:.4g} on average, over {allowed:.4g}")
    print(
        f"{len(outputs_NK)} golden outputs within {tolerance:.4g} "
        f"(largest difference {difference:.4g}) with {network.description}"
    )


def load(manifest: dict[str, Any], portable: bool) -> Session:
    """Load the delivered file in its runtime, or the portable file in ONNX Runtime."""
    model, threads = manifest["model"], manifest["device"]["threads"]
    try:
        if portable:
            return OnnxRuntimeSession(HERE / model["portable"], threads)
        unit = model["details"].get("openvino_device", "CPU")
        return RUNTIME(HERE / model["entry"], threads, unit)
    except ImportError as error:
        raise ImportError(
            f"{error}. Install the device's runtime ({model['runtime']} "
            f"{model['runtime_version']}), or use --portable with ONNX Runtime"
        ) from error
    except SessionError as error:
        raise SessionError(f"{error} (the file is {model['details']['rebuild']})") from error


if __name__ == "__main__":
    sys.exit(main())
