"""Does int8 compute what it states, and do golden outputs notice a wrong network?

`python -m benchmarks.golden` quantises the trained networks of a finished release for every family
and compares every runtime's logits on test images with the Q/DQ graph kept apart. Then noise goes
into one layer's weights at a time, and golden outputs have to notice. Axes: N images, K classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.harness.flags import add_artifacts, flags_of
from benchmarks.harness.markdown import table, write_sections
from benchmarks.harness.presets import any_device
from benchmarks.quantize.variants import Network, logits, searched, trained_folders
from bundles.archive import BundleError
from bundles.golden import Golden, difference_of, tolerance_of
from core.process import prepare_machine
from data.dataset import Split
from devices.measure.delivered import subsample
from devices.measure.inference import reference_logits, single_images
from devices.quantize.calibration import calibration_images
from devices.quantize.static import calibrate, quantize
from devices.runtimes.onnxruntime.session import PRECISE_INT8, open_onnx, session_options
from devices.runtimes.processor import features
from devices.runtimes.registry import backend
from models.nets.onnx_export import to_onnx
from models.training.learning import Images

REFERENCE = backend("onnxruntime")
IMAGES, GOLDEN = 2000, 8
"""Test images that are compared, and golden images."""
NOISE = (0.01, 0.03, 0.1)
FORMER = 0.1
"""The former tolerance of every logit, as a share of the largest."""
CASES = (("uint8", "openvino", 8), ("uint8", "openvino", 7), ("int8_asymmetric", "litert", 8))


def fast_kernels(file: Path, images: Sequence[Any]) -> Any:
    """Logits (N, K) by ONNX Runtime's fast kernels, whatever the processor."""
    options = session_options(1)
    options.add_session_config_entry(PRECISE_INT8, "0")
    session = open_onnx(file, options)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image_1CHW})[0] for image_1CHW in images])


def compare(network: Network, images: Images, folder: Path) -> list[list[str]]:
    """How every runtime's int8 compares with what the file states: one row each."""
    source, rows = write_float(network, images, folder), []
    test = Split(images.test.images_NHWC[:IMAGES], images.test.labels_N[:IMAGES])
    inputs = list(single_images(test, images.info))
    for family, name, bits in CASES:
        file = folder / f"{family}-{bits}.onnx"
        file.write_bytes(int8(source, images, family, bits))
        stated_NK = reference_logits(file, test, images.info)
        found = {f"{backend(name).runtime}, {bits} bits": run_built(name, file, inputs, folder)}
        if (family, bits) == ("uint8", 8):
            found["ONNX Runtime, fast kernels"] = fast_kernels(file, inputs)
            found["ONNX Runtime, as delivered"] = logits(REFERENCE, file, inputs)
        for what, found_NK in found.items():
            agreement = (found_NK.argmax(1) == stated_NK.argmax(1)).mean()
            off = np.abs(found_NK - stated_NK).max() / np.abs(stated_NK).max()
            rows.append([network.name, what, f"{agreement:.4f}", f"{off:.4f}"])
    return rows


def detect(network: Network, images: Images, folder: Path) -> list[list[str]]:
    """Shares of layers whose noise golden outputs notice: one row a precision and noise."""
    source, rows = write_float(network, images, folder), []
    test = subsample(images.test, GOLDEN)
    inputs = list(single_images(test, images.info))
    files = {"float32": source.read_bytes(), "int8": int8(source, images, "uint8", 8)}
    for precision, model in files.items():
        file = folder / f"golden-{precision}.onnx"
        file.write_bytes(model)
        right_NK = logits(REFERENCE, file, inputs)
        largest = float(np.abs(right_NK).max())
        # The measured difference of int8 is one step at least, which is what LEAST allows.
        allowed = tolerance_of(precision, largest, 0.0, FORMER)
        rows_N = np.asarray(test.labels_N)
        golden = Golden(np.zeros(0, np.uint8), np.concatenate(inputs), right_NK, rows_N, allowed)
        for noise in NOISE:
            before, now = [], []
            for wrong in perturbed(model, noise):
                file.write_bytes(wrong)
                wrong_NK = logits(REFERENCE, file, inputs)
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
    out = folder / f"{file.stem}-{name}"
    out.mkdir(exist_ok=True)
    built = backend(name).build(file, "int8", out, any_device(name))
    return logits(backend(name), out / built.entry, images)


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


def main() -> None:
    parser = flags_of("golden", __doc__, "golden.md")
    add_artifacts(parser)
    args = parser.parse_args()
    prepare_machine(1, 0)
    images = Images.read(args.artifacts / "data")
    states, finds = [], []
    for network in map(searched, trained_folders(args.artifacts)):
        with tempfile.TemporaryDirectory(prefix="netwright-") as folder:
            states += compare(network, images, Path(folder))
            finds += detect(network, images, Path(folder))
    known = ", ".join(features() or ["unknown"])
    about = f"`python -m benchmarks.golden` on a processor with {known}; {IMAGES} test images"
    head = ("network", "runtime", "agreement", "largest difference / largest logit")
    layers = ("network", "precision", "noise", "layers", "noticed before", "noticed now")
    sections = {
        "int8 against the Q/DQ graph": f"{about}.\n\n{table(head, states)}",
        "What golden outputs notice": (
            f"{GOLDEN} golden images; noise in one layer at a time, its standard deviation as "
            "a share of the layer's largest weight. Before: any logit by a tenth of the largest."
            f"\n\n{table(layers, finds)}"
        ),
    }
    write_sections(args.out, "What int8 computes, and what golden outputs notice", sections)


if __name__ == "__main__":
    main()
