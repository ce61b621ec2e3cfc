"""Run this bundle's network. Needs only NumPy and the device's runtime.

    python run.py [verify]            check the files and the golden outputs
    python run.py image.npy ...       classify uint8 arrays of shape (height, width, channels)
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

from devices.measure.agent.onnx_session import open_session  # inlined in a bundle

HERE = Path(__file__).resolve().parent
MEAN_SHARE = 0.1  # of the tolerance: a wrong network changes most logits, rounding few
Float32 = npt.NDArray[np.float32]


def main() -> int:
    """Parse the command line, then verify or classify."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", nargs="*", type=Path, help="uint8 .npy files (H, W, C)")
    parser.add_argument("--portable", action="store_true", help="use the ONNX file")
    flags = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # the terminal may not encode all labels
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        manifest = read("manifest.json")
        check_files(manifest)
        network = load(manifest, flags.portable)
        if flags.images in ([], [Path("verify")]):
            check_golden(network)
        else:
            classify(flags.images, network)
    except (ImportError, ValueError, OSError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
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


def classify(paths: list[Path], network: Any) -> None:
    """Print the most probable class of every image and its probability."""
    labels = read("labels.json")["labels"]
    for path in paths:
        image_HWC = np.load(path, allow_pickle=False)
        logits_K = network(preprocess(image_HWC[np.newaxis]))[0].astype(np.float64)
        weights_K = np.exp(logits_K - logits_K.max())
        best = int(logits_K.argmax())
        print(f"{path}: {labels[best]} {weights_K[best] / weights_K.sum():.4f}")


def check_golden(network: Any) -> None:
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
        f"(largest difference {difference:.4g}) with {network.runtime}"
    )


def load(manifest: dict[str, Any], portable: bool) -> Any:
    """Load the delivered file in its runtime, or the portable file in ONNX Runtime."""
    model, device = manifest["model"], manifest["device"]
    kind = OnnxRuntime if portable else Runtime
    file = HERE / (model["portable"] if portable else model["entry"])
    try:
        return kind(file, device["threads"], model)
    except ImportError as error:
        raise ImportError(
            f"{error}. Install the device's runtime ({model['runtime']} "
            f"{model['runtime_version']}), or use --portable with ONNX Runtime"
        ) from error


class OnnxRuntime:
    """ONNX Runtime on the CPU."""

    def __init__(self, file: Path, threads: int, model: dict[str, Any]) -> None:
        import onnxruntime

        self.session = open_session(str(file), threads)
        self.name = self.session.get_inputs()[0].name
        self.runtime = f"ONNX Runtime {onnxruntime.__version__}"

    def __call__(self, images_1CHW: Float32) -> Any:
        """Logits (1, K)."""
        return self.session.run(None, {self.name: images_1CHW})[0]


Runtime: Any = OnnxRuntime  # replaced by the backend's own module

if __name__ == "__main__":
    sys.exit(main())
