"""Does int8 compute what it states, and do golden outputs notice a wrong network?

    python -m benchmarks.golden

takes the trained networks of a finished release. Each is quantised for every family, and every
runtime's logits on test images are compared with the Q/DQ graph kept apart. Then noise goes into
one layer's weights at a time, and golden outputs have to notice. No time is measured. Writes
docs/results/golden.md. Axes: N images, C, H, W, K classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.harness.flags import ARTIFACTS, flags_of
from benchmarks.harness.markdown import table, write_sections
from benchmarks.quantize.variants import Network, searched
from bundles.archive import BundleError
from bundles.golden import Golden, difference_of, tolerance_of
from core.process import prepare_machine
from data.dataset import Split
from devices.device import Budget, Device
from devices.measure.delivered import subsample
from devices.measure.inference import single_images
from devices.quantize.calibration import calibration_images
from devices.quantize.static import calibrate, quantize
from devices.runtimes.onnxruntime.backend import open_reference
from devices.runtimes.onnxruntime.session import PRECISE_INT8, open_onnx, session_options
from devices.runtimes.processor import features
from devices.runtimes.registry import backend
from models.nets.onnx_export import to_onnx
from models.training.learning import Images

NOISE = (0.01, 0.03, 0.1)
FORMER = 0.1
"""The former tolerance of every logit, as a share of the largest."""
CASES = (("uint8", "openvino", 8), ("uint8", "openvino", 7), ("int8_asymmetric", "litert", 8))


def run(session: Any, images: Sequence[Any]) -> Any:
    """Logits (N, K)."""
    return np.concatenate([session(image_1CHW) for image_1CHW in images])


def fast_kernels(file: Path, images: Sequence[Any]) -> Any:
    """Logits (N, K) by ONNX Runtime's fast kernels, whatever the processor."""
    options = session_options(1)
    options.add_session_config_entry(PRECISE_INT8, "0")
    session = open_onnx(file, options)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image_1CHW})[0] for image_1CHW in images])


def compare(network: Network, images: Images, count: int, folder: Path) -> list[list[str]]:
    """How every runtime's int8 compares with what the file states: one row each."""
    source, rows = write_float(network, images, folder), []
    test = first(images.test, count)
    inputs = list(single_images(test, images.info))
    for family, name, bits in CASES:
        file = folder / f"{family}-{bits}.onnx"
        file.write_bytes(int8(source, images, family, bits))
        with open_reference(file) as session:
            stated_NK = run(session, inputs)
        found = {f"{backend(name).runtime}, {bits} bits": run_built(name, file, inputs, folder)}
        if (family, bits) == ("uint8", 8):
            found["ONNX Runtime, fast kernels"] = fast_kernels(file, inputs)
            with backend("onnxruntime").open(file, 1) as session:
                found["ONNX Runtime, as delivered"] = run(session, inputs)
        for what, found_NK in found.items():
            agreement = (found_NK.argmax(1) == stated_NK.argmax(1)).mean()
            off = np.abs(found_NK - stated_NK).max() / np.abs(stated_NK).max()
            rows.append([network.name, what, f"{agreement:.4f}", f"{off:.4f}"])
    return rows


def detect(network: Network, images: Images, golden_images: int, folder: Path) -> list[list[str]]:
    """Shares of layers whose noise golden outputs notice: one row a precision and noise."""
    source, rows = write_float(network, images, folder), []
    test = subsample(images.test, golden_images)
    inputs = list(single_images(test, images.info))
    files = {"float32": source.read_bytes(), "int8": int8(source, images, "uint8", 8)}
    for precision, model in files.items():
        file = folder / f"golden-{precision}.onnx"
        file.write_bytes(model)
        with backend("onnxruntime").open(file, 1) as session:
            right_NK = run(session, inputs)
        largest = float(np.abs(right_NK).max())
        # The measured difference of int8 is one step at least, which is what LEAST allows.
        allowed = tolerance_of(precision, largest, 0.0, FORMER)
        rows_N = np.asarray(test.labels_N)
        golden = Golden(np.zeros(0, np.uint8), np.concatenate(inputs), right_NK, rows_N, allowed)
        for noise in NOISE:
            before, now = [], []
            for wrong in perturbed(model, noise):
                file.write_bytes(wrong)
                with backend("onnxruntime").open(file, 1) as session:
                    wrong_NK = run(session, inputs)
                before.append(float(np.abs(wrong_NK - right_NK).max()) > FORMER * largest)
                now.append(refused(wrong_NK, golden))
            shares = [f"{np.mean(before):.2f}", f"{np.mean(now):.2f}"]
            rows.append([network.name, precision, f"{noise:.0%}", str(len(now)), *shares])
    return rows


def perturbed(model: bytes, share: float) -> Iterator[bytes]:
    """The ONNX network with noise in the weights of one layer, for each of its layers.

    The noise is Gaussian; its standard deviation is a share of the layer's largest weight.
    """
    content, rng = onnx.load_from_string(model), np.random.default_rng(0)
    constants = {c.name: c for c in content.graph.initializer}
    sources = {n.output[0]: n.input[0] for n in content.graph.node if n.op_type.startswith("Deq")}
    for node in content.graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        name = sources.get(node.input[1], node.input[1])
        before = numpy_helper.to_array(constants[name])
        noisy = before + share * np.abs(before).max() * rng.standard_normal(before.shape)
        if before.dtype == np.int8:
            noisy = np.clip(np.rint(noisy), -127, 127)
        constants[name].CopyFrom(numpy_helper.from_array(noisy.astype(before.dtype), name))
        yield content.SerializeToString()
        constants[name].CopyFrom(numpy_helper.from_array(before, name))


def refused(outputs_NK: Any, golden: Golden) -> bool:
    """Whether outputs are too far from the golden ones."""
    try:
        difference_of(Path("network"), outputs_NK, golden, "ONNX Runtime")
    except BundleError:
        return True
    return False


def run_built(name: str, file: Path, images: Sequence[Any], folder: Path) -> Any:
    """Logits (N, K) of what a backend builds of an int8 file."""
    device = Device(backend=name, budget=Budget(flops=1), min_accuracy=0)
    out = folder / f"{file.stem}-{name}"
    out.mkdir(exist_ok=True)
    with backend(name).open(
        out / backend(name).build(file, "int8", out, device).entry, 1
    ) as opened:
        return run(opened, images)


def write_float(network: Network, images: Images, folder: Path) -> Path:
    """The network's float32 ONNX file."""
    file = folder / f"{network.name}.onnx"
    file.write_bytes(to_onnx(network.module, images.info.image_shape))
    return file


def int8(source: Path, images: Images, family: Any, bits: Any) -> bytes:
    """The network in int8, by min-max calibration on 256 training images."""
    rng = np.random.default_rng(0)
    rows = calibration_images(images.train, images.info, 256, rng)
    return quantize(calibrate(source, rows, family, ("minmax",), weight_bits=bits), "minmax")


def first(split: Split, count: int) -> Split:
    """The first images of a split."""
    return Split(split.images_NHWC[:count], split.labels_N[:count])


def main() -> None:
    parser = flags_of("golden", __doc__, "golden.md")
    parser.add_argument("--data", type=Path, default=ARTIFACTS / "data")
    parser.add_argument("--train", type=Path, default=ARTIFACTS / "train")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--golden", type=int, default=8)
    args = parser.parse_args()
    prepare_machine(1, 0)
    images = Images.read(args.data)
    states, finds = [], []
    for network in [searched(path) for path in sorted(args.train.iterdir()) if path.is_dir()]:
        with tempfile.TemporaryDirectory(prefix="netwright-") as folder:
            states += compare(network, images, args.images, Path(folder))
            finds += detect(network, images, args.golden, Path(folder))
    known = ", ".join(features() or ["unknown"])
    about = f"`python -m benchmarks.golden` on a processor with {known}; {args.images} test images"
    head = ("network", "runtime", "agreement", "largest difference / largest logit")
    layers = ("network", "precision", "noise", "layers", "noticed before", "noticed now")
    sections = {
        "int8 against the Q/DQ graph": f"{about}.\n\n{table(head, states)}",
        "What golden outputs notice": (
            f"{args.golden} golden images; noise in one layer at a time, its standard deviation as "
            "a share of the layer's largest weight. Before: any logit by a tenth of the largest."
            f"\n\n{table(layers, finds)}"
        ),
    }
    write_sections(args.out, "What int8 computes, and what golden outputs notice", sections)


if __name__ == "__main__":
    main()
