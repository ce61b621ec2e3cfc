"""Models in TensorRT. Axes: C channels, H height, W width, K classes."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from devices.runtimes.session import Session, SessionError

REGULAR, RTX = "tensorrt", "tensorrt_rtx"
_MAJOR, _MINOR = 75, 76  # CUDA's attribute numbers of a device's compute capability


class TensorRtSession(Session):
    """An engine on an NVIDIA GPU; every call includes the copies to and from the GPU.

    Needs the module and version that built the engine, and the CUDA driver, but no other CUDA
    package. UNVERIFIED: needs a GPU.
    """

    runtime, package = "TensorRT", RTX
    agent_needs = "GPU buffers and a driver, which are not tested"

    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        self._cuda, self._addresses = _driver(), dict[str, ctypes.c_uint64]()
        self._begin()
        self.package, self._runtime, self._engine = _load(file)
        trt = importlib.import_module(self.package)
        self._source, self._target = input_and_output(trt, self._engine)
        self._execution = self._engine.create_execution_context()
        for name in (self._source, self._target):
            self._add_buffer(name)
        self.input_shape = tuple(self._engine.get_tensor_shape(self._source))
        self._output_shape = tuple(self._engine.get_tensor_shape(self._target))

    def __call__(self, images_1CHW: Any) -> Any:
        """Logits (1, K) of one image."""
        images = np.ascontiguousarray(images_1CHW, np.float32)
        logits_1K = np.empty(self._output_shape, np.float32)
        source, target = self._addresses[self._source], self._addresses[self._target]
        self._call("cuMemcpyHtoD_v2", source, *_host(images))
        if not self._execution.execute_async_v3(self._stream.value):
            raise SessionError("TensorRT cannot run the engine")
        self._call("cuStreamSynchronize", self._stream)
        pointer, size = _host(logits_1K)
        self._call("cuMemcpyDtoH_v2", pointer, target, size)
        return logits_1K

    def close(self) -> None:
        """Free the engine, the buffers and the stream."""
        del self._execution, self._engine, self._runtime
        for address in self._addresses.values():
            self._call("cuMemFree_v2", address)
        self._call("cuStreamDestroy_v2", self._stream)
        super().close()

    def _begin(self) -> None:
        device, context, self._stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(self._stream), 0)

    def _add_buffer(self, name: str) -> None:
        size, address = int(np.prod(self._engine.get_tensor_shape(name))), ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(4 * size))
        self._addresses[name] = address
        self._execution.set_tensor_address(name, address.value)

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._cuda, function)(*arguments)
        if code != 0:
            raise SessionError(f"CUDA's {function} returned error {code}")


def _load(file: Path) -> tuple[str, Any, Any]:
    """The module that loads an engine, its runtime and the engine."""
    providers, errors = [name for name in (REGULAR, RTX) if installed(name)], []
    if not providers:
        raise ImportError(f"neither {REGULAR} nor {RTX} is installed")
    for provider in providers:
        trt, log = importlib.import_module(provider), logger(provider)
        runtime = trt.Runtime(log)
        engine = runtime.deserialize_cuda_engine(file.read_bytes())
        if engine is not None:
            return provider, runtime, engine
        errors.append(f"{provider} {trt.__version__} cannot load {file.name}: {errors_of(log)}")
    raise SessionError("; ".join(errors))


def input_and_output(trt: Any, engine: Any) -> tuple[str, str]:
    """Names of an engine's input and output.

    Args:
        trt: the TensorRT module.
        engine: a loaded engine.

    Raises:
        SessionError: the engine does not have exactly one of each.
    """
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    inputs, outputs = (
        [name for name in names if engine.get_tensor_mode(name) == mode]
        for mode in (trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT)
    )
    if len(inputs) != 1 or len(outputs) != 1:
        raise SessionError(
            f"an engine needs one input and one output, not inputs {inputs}, outputs {outputs}."
        )
    return inputs[0], outputs[0]


def installed(module: str) -> bool:
    """Whether a TensorRT module is installed."""
    return importlib.util.find_spec(module) is not None


def gpu_capability() -> str | None:
    """Compute capability of the first NVIDIA GPU, such as SM89; None without a driver or GPU."""
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    try:
        cuda = _driver()
    except SessionError:
        return None
    answers = (
        cuda.cuInit(0) == 0
        and cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
        and cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device) == 0
        and cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device) == 0
    )
    return f"SM{major.value}{minor.value}" if answers else None


def logger(provider: str) -> Any:
    """A logger that collects errors, which TensorRT only logs."""
    trt = importlib.import_module(provider)

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def errors_of(log: Any) -> str:
    """The errors that a logger collected."""
    return "; ".join(log.errors) or "no message"


def _driver() -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise SessionError("no NVIDIA driver found on this machine") from None


def _host(array: Any) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
    """An array's address and size in bytes as driver arguments."""
    return array.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(array.nbytes)
