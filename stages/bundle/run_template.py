"""Run this bundle's network. Needs only NumPy and the device's runtime.

    python run.py                     check the files and the golden outputs
    python run.py image.npy ...       classify uint8 arrays of shape (height, width, channels)
    python run.py --portable ...      the same, with the portable ONNX file in ONNX Runtime

Exit codes: 0 done; 1 an output or a file is not what it was; 2 wrong use.
Axes: N images (1 here), H height, W width, C channels, K classes.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).resolve().parent
Float32 = npt.NDArray[np.float32]


def main() -> int:
    """Parse the command line, then check or classify."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", nargs="*", type=Path, help="uint8 .npy files (H, W, C)")
    parser.add_argument("--portable", action="store_true", help="use the ONNX file")
    flags = parser.parse_args()
    try:
        manifest = read("manifest.json")
        check_files(manifest)
        network = load(manifest, flags.portable)
        if flags.images:
            classify(flags.images, network)
        else:
            check_golden(network)
    except (ImportError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def read(name: str) -> dict[str, Any]:
    """One of the bundle's JSON files."""
    content: dict[str, Any] = json.loads((HERE / name).read_text(encoding="utf-8"))
    return content


def check_files(manifest: dict[str, Any]) -> None:
    """Refuse a file whose SHA-256 is not the manifest's."""
    for name, expected in sorted(manifest["files"].items()):
        if hashlib.sha256((HERE / name).read_bytes()).hexdigest() != expected:
            raise ValueError(f"{name} is not the file that was bundled; unpack the bundle again")


def preprocess(images_NHWC: npt.NDArray[np.uint8]) -> Float32:
    """uint8 images (N, H, W, C) to the network's float32 input (N, C, H, W)."""
    how = read("preprocess.json")
    channels, height, width = how["image_shape"]
    if images_NHWC.dtype != np.uint8 or images_NHWC.shape[1:] != (height, width, channels):
        raise ValueError(
            f"an image must be uint8 of shape {(height, width, channels)}, "
            f"not {images_NHWC.dtype} of shape {images_NHWC.shape[1:]}"
        )
    scaled = images_NHWC.astype(np.float32) / np.float32(how["scale"])
    normal = (scaled - np.array(how["mean"], np.float32)) / np.array(how["std"], np.float32)
    return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))


def classify(paths: list[Path], network: Any) -> None:
    """Print the most probable class of every image, and its probability."""
    labels = read("labels.json")["labels"]
    for path in paths:
        image_HWC = np.load(path, allow_pickle=False)
        logits_K = network(preprocess(image_HWC[np.newaxis]))[0].astype(np.float64)
        weights_K = np.exp(logits_K - logits_K.max())
        best = int(logits_K.argmax())
        print(f"{path}: {labels[best]} {weights_K[best] / weights_K.sum():.4f}")


def check_golden(network: Any) -> None:
    """Compare the network's outputs with those recorded when the bundle was made."""
    with np.load(HERE / "golden.npz", allow_pickle=False) as golden:
        tolerance = float(golden["tolerance"])
        inputs_NCHW = preprocess(golden["images"])
        if not np.abs(inputs_NCHW - golden["inputs"]).max() <= 1e-4:
            raise ValueError("preprocessing gives other inputs than the golden ones")
        outputs_NK = np.concatenate([network(row[np.newaxis]) for row in golden["inputs"]])
        difference = np.abs(outputs_NK - golden["outputs"]).max()
    # Written so that a difference that is not a number fails.
    if not difference <= tolerance:
        raise ValueError(f"golden outputs differ by {difference:.4g}; {tolerance:.4g} is allowed")
    print(
        f"{len(outputs_NK)} golden outputs within {tolerance:.4g} "
        f"(largest difference {difference:.4g}) with {network.runtime}"
    )


def load(manifest: dict[str, Any], portable: bool) -> Any:
    """Open the delivered file in its runtime, or the portable one in ONNX Runtime."""
    model, device = manifest["model"], manifest["device"]
    kind = OnnxRuntime if portable else RUNTIMES[device["backend"]]
    file = HERE / (model["portable"] if portable else model["entry"])
    try:
        return kind(file, device["threads"], model)
    except ImportError as error:
        raise ImportError(
            f"{error}. Install the device's runtime ({model['runtime']} "
            f"{model['runtime_version']}), or use --portable with ONNX Runtime"
        ) from error


class OnnxRuntime:
    """The processor, by ONNX Runtime."""

    def __init__(self, file: Path, threads: int, model: dict[str, Any]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        self.name = self.session.get_inputs()[0].name
        self.runtime = f"ONNX Runtime {onnxruntime.__version__}"

    def __call__(self, images_1CHW: Float32) -> Any:
        """Logits (1, K)."""
        return self.session.run(None, {self.name: images_1CHW})[0]


class OpenVino:
    """The processor, by OpenVINO, in float32 where the network is not int8."""

    def __init__(self, file: Path, threads: int, model: dict[str, Any]) -> None:
        import openvino

        # Recent processors would compute in bfloat16, which is not what was validated.
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self.compiled = openvino.Core().compile_model(str(file), "CPU", config)
        self.runtime = f"OpenVINO {openvino.__version__.split('-')[0]}"

    def __call__(self, images_1CHW: Float32) -> Any:
        """Logits (1, K)."""
        return self.compiled(images_1CHW)[self.compiled.output(0)].copy()


class TensorRt:
    """An NVIDIA GPU, by the TensorRT that built the engine, and CUDA's driver alone.

    UNVERIFIED: no GPU was there when this was written.
    """

    def __init__(self, file: Path, threads: int, model: dict[str, Any]) -> None:
        provider = model["details"].get("provider", "tensorrt")
        trt = importlib.import_module(provider)
        try:
            self.cuda = ctypes.CDLL("libcuda.so.1")
        except OSError:
            raise OSError(
                "no NVIDIA driver answers on this machine; --portable runs the ONNX file"
            ) from None
        self._begin()
        self.trt_runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self.engine = self.trt_runtime.deserialize_cuda_engine(file.read_bytes())
        if self.engine is None:
            raise ValueError(
                f"{file.name} was built for {provider} {model['runtime_version']} on "
                f"{model['details'].get('compute_capabilities')}; {model['details'].get('rebuild')}"
            )
        self.execution = self.engine.create_execution_context()
        for number in range(self.engine.num_io_tensors):
            self._add_buffer(self.engine.get_tensor_name(number), trt)
        self.runtime = f"{provider} {trt.__version__}"

    def __call__(self, images_1CHW: Float32) -> Any:
        """Logits (1, K)."""
        source = np.ascontiguousarray(images_1CHW, np.float32)
        self._do("cuMemcpyHtoD_v2", self.input, *_host(source))
        if not self.execution.execute_async_v3(self.stream.value):
            raise ValueError("the engine could not be run")
        self._do("cuStreamSynchronize", self.stream)
        logits_1K = np.empty(self.output_shape, np.float32)
        pointer, size = _host(logits_1K)
        self._do("cuMemcpyDtoH_v2", pointer, self.output, size)
        return logits_1K

    def _begin(self) -> None:
        device, context, self.stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._do("cuInit", 0)
        self._do("cuDeviceGet", ctypes.byref(device), 0)
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._do("cuCtxSetCurrent", context)
        self._do("cuStreamCreate", ctypes.byref(self.stream), 0)

    def _add_buffer(self, name: str, trt: Any) -> None:
        shape, address = tuple(self.engine.get_tensor_shape(name)), ctypes.c_uint64()
        self._do("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(4 * int(np.prod(shape))))
        self.execution.set_tensor_address(name, address.value)
        if self.engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            self.input = address
        else:
            self.output, self.output_shape = address, shape

    def _do(self, call: str, *arguments: Any) -> None:
        code = getattr(self.cuda, call)(*arguments)
        if code != 0:
            raise OSError(f"CUDA's {call} answered with error {code}")


def _host(array: Float32) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
    """Where an array lies in memory, and its bytes, as the driver takes them."""
    return array.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(array.nbytes)


RUNTIMES: dict[str, Any] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "tensorrt": TensorRt}

if __name__ == "__main__":
    sys.exit(main())
