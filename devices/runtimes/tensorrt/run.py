"""Run a bundle's file in TensorRT."""

from __future__ import annotations

import ctypes
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Runtime:
    """TensorRT on an NVIDIA GPU, with the version that built the engine and the CUDA driver.

    UNVERIFIED: not tested on a GPU.
    """

    def __init__(self, file: Path, threads: int, model: dict[str, Any]) -> None:
        provider = model["details"].get("provider", "tensorrt")
        trt = importlib.import_module(provider)
        try:
            self.cuda = ctypes.CDLL("libcuda.so.1")
        except OSError:
            raise OSError(
                "no NVIDIA driver found on this machine; --portable runs the ONNX file"
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
            raise OSError(f"CUDA's {call} returned error {code}")


def _host(array: Float32) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
    """Return an array's address and size in bytes as driver arguments."""
    return array.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(array.nbytes)
