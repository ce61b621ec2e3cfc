"""TensorRT on NVIDIA GPUs: regular TensorRT for the local GPU, else TensorRT-RTX ahead of time.

An engine is bound to compute capabilities (such as SM89) and to the runtime version, and its
bytes are not reproducible; the portable ONNX file is delivered with it. Code that needs a GPU
driver (`open`, regular TensorRT) follows the documented API and is UNVERIFIED: it was only run up
to the missing driver.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import Device, DeviceError
from devices.runtimes.base import MODEL, Backend, Built, Capabilities, Session

REGULAR, RTX = "tensorrt", "tensorrt_rtx"
_NO_FLOAT32_GEMM = "SM75"
_MAJOR, _MINOR = 75, 76  # CUDA's attribute numbers of a device's compute capability


class TensorRt(Backend):
    """Build and run engines; the deliverable is the engine and its source ONNX file."""

    name = "tensorrt"
    runtime = "TensorRT"
    package = RTX
    install_hint = "pip install tensorrt-rtx-cu12 (or tensorrt, on a machine with its GPU)"
    activations = "int8"
    opens_onnx = False
    native_precisions = ("float32", "float16", "int8")

    def capabilities(self) -> Capabilities:
        """Builds if a TensorRT package is installed; runs if there is a GPU with a driver."""
        precisions = frozenset(self.native_precisions)
        gpu = gpu_capability()
        if not (_installed(RTX) or (_installed(REGULAR) and gpu)):
            reason = f"TensorRT is not installed. Install it: {self.install_hint}."
            return Capabilities(precisions, False, False, False, reason)
        if gpu is None:
            reason = "No NVIDIA GPU answers on this machine; engines are built but cannot be run."
            return Capabilities(precisions, True, False, False, reason)
        return Capabilities(precisions, can_build=True, can_run=True, can_measure=True)

    def version(self) -> str:
        """The version of the TensorRT package in use, or `not installed`."""
        if not self.capabilities().can_build:
            return "not installed"
        return str(_import(REGULAR if _regular_answers() else RTX).__version__)

    def why_not_run(self, device: Device) -> str:
        """Also checks the compute capability of the GPU."""
        gpu, reason = gpu_capability(), super().why_not_run(device)
        if not reason and gpu not in device.compute_capabilities:
            wanted = ", ".join(device.compute_capabilities)
            return f"This machine's GPU is {gpu}, but the device is {wanted}."
        return reason

    def check_generations(self, device: Device) -> None:
        """Check that there are compute capabilities, all known and able to run the precision.

        Raises:
            DeviceError: none is set, or one is unknown or does not support the precision.
        """
        super().check_generations(device)
        wanted = device.compute_capabilities
        provider = provider_for(wanted)
        known = [gpu_capability() or ""] if provider == REGULAR else _known()
        if not wanted:
            raise DeviceError(
                "compute_capabilities: backend 'tensorrt' needs the GPU generations to build for, "
                f"such as [SM89]. Known: {', '.join(known)}."
            )
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise DeviceError(
                f"compute_capabilities: TensorRT-RTX cannot build for {', '.join(unknown)}. "
                f"Known: {', '.join(known)}. Others (SM87: Jetson Orin, SM90: Hopper) need the "
                "regular TensorRT on a machine with that GPU, and no other one in the list."
            )
        if len(set(wanted)) != len(wanted):
            raise DeviceError(f"compute_capabilities: remove duplicates: {', '.join(wanted)}.")
        if _NO_FLOAT32_GEMM in wanted and device.precision != "float16":
            raise DeviceError(
                f"compute_capabilities: {_NO_FLOAT32_GEMM} has no float32 matrix product in "
                "TensorRT-RTX. Set precision: float16, or leave it out of the list."
            )

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Build one engine for all of the device's compute capabilities."""
        details = self.start_build(onnx_model, precision, device)
        provider = provider_for(device.compute_capabilities)
        engine, layers = _build_engine(provider, onnx_model, device.compute_capabilities)
        entry, portable = f"{MODEL}.engine", f"{MODEL}.onnx"
        (folder / entry).write_bytes(engine)
        shutil.copyfile(onnx_model, folder / portable)
        details |= {
            "provider": provider,
            "runtime_version": str(_import(provider).__version__),
            "compute_capabilities": list(device.compute_capabilities),
            "layers": layers,
            "not_reproducible": [entry],
            "rebuild": (
                f"the engine runs only with this version of {provider} on these compute "
                f"capabilities; for others parse {portable} into a strongly typed network with "
                f"{provider}.OnnxParser, set the compute capabilities on the builder's config, "
                "and call build_serialized_network"
            ),
        }
        return Built((entry, portable), entry, details)

    def open(self, entry: Path, threads: int) -> Session:
        """Load an engine, or build one from an ONNX file for this machine's GPU. UNVERIFIED."""
        here = self.capabilities()
        if not here.can_run:
            raise DeviceError(f"{entry} cannot be run here. {here.reason}")
        provider = REGULAR if _regular_answers() else RTX
        engine = entry.read_bytes()
        if entry.suffix == ".onnx":
            engine, _ = _build_engine(provider, entry, (gpu_capability() or "",))
        return _TensorRtSession(provider, engine)


class _TensorRtSession(Session):
    """UNVERIFIED: needs a GPU. Every call includes the copies to and from the GPU."""

    def __init__(self, provider: str, engine: bytes) -> None:
        import torch

        trt, log = _import(provider), _logger(provider)
        self._runtime = trt.Runtime(log)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise DeviceError(f"{provider} cannot load the engine: {_errors(log)}")
        self._context = self._engine.create_execution_context()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._buffers = {}
        source, target = input_and_output(trt, self._engine)
        for name in (source, target):
            shape = tuple(self._engine.get_tensor_shape(name))
            self._buffers[name] = torch.empty(shape, dtype=torch.float32, device="cuda")
            self._context.set_tensor_address(name, self._buffers[name].data_ptr())
        self._images_1CHW, self._logits_1K = self._buffers[source], self._buffers[target]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self._images_1CHW.shape)

    def __call__(self, images_1CHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        import torch

        with torch.cuda.stream(self._stream):
            self._images_1CHW.copy_(torch.from_numpy(images_1CHW), non_blocking=True)
            self._context.execute_async_v3(self._stream.cuda_stream)
            logits_1K: npt.NDArray[np.float32] = self._logits_1K.cpu().numpy()
        return logits_1K

    def close(self) -> None:
        del self._context, self._engine, self._runtime, self._buffers


def input_and_output(trt: Any, engine: Any) -> tuple[str, str]:
    """Names of an engine's input and output.

    Args:
        trt: the TensorRT module.
        engine: a loaded engine.

    Raises:
        DeviceError: the engine does not have exactly one of each.
    """
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    by_mode = {
        mode: [name for name in names if engine.get_tensor_mode(name) == mode]
        for mode in (trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT)
    }
    inputs, outputs = by_mode.values()
    if len(inputs) != 1 or len(outputs) != 1:
        raise DeviceError(
            f"an engine needs one input and one output; this one has {inputs} and {outputs}."
        )
    return inputs[0], outputs[0]


def provider_for(compute_capabilities: Sequence[str]) -> str:
    """The module that builds for these GPUs: regular TensorRT only for the local GPU alone."""
    own = (gpu_capability(),) == tuple(compute_capabilities)
    return REGULAR if own and _regular_answers() else RTX


def gpu_capability() -> str | None:
    """Compute capability of the first NVIDIA GPU, such as SM89; None without a driver or GPU."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    answers = (
        cuda.cuInit(0) == 0
        and cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
        and cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device) == 0
        and cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device) == 0
    )
    return f"SM{major.value}{minor.value}" if answers else None


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _regular_answers() -> bool:
    return _installed(REGULAR) and gpu_capability() is not None


def _import(provider: str) -> Any:
    return importlib.import_module(provider)


def _known() -> list[str]:
    """Compute capabilities supported by TensorRT-RTX, in ascending order."""
    names = [name for name in dir(_import(RTX).ComputeCapability) if name.startswith("SM")]
    return sorted(names, key=lambda name: int(name.removeprefix("SM")))


def _build_engine(
    provider: str, onnx_model: Path, compute_capabilities: Sequence[str]
) -> tuple[bytes, dict[str, int]]:
    """Build an engine; also counts the layers of the parsed network by type.

    The layers of the engine itself cannot be inspected without a GPU.

    Raises:
        DeviceError: a setting or the model was rejected; with the errors of the logger.
    """
    trt, log = _import(provider), _logger(provider)
    builder = trt.Builder(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx_model.read_bytes()):
        errors = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise DeviceError(f"{provider} cannot read {onnx_model.name}: {errors or _errors(log)}")
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    config = builder.create_builder_config()
    if provider == RTX:
        _set_capabilities(trt, config, compute_capabilities, log)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise DeviceError(f"{provider} cannot build {onnx_model.name}: {_errors(log)}")
    return bytes(engine), dict(sorted(Counter(layer.type.name for layer in layers).items()))


def _set_capabilities(trt: Any, config: Any, names: Sequence[str], log: Any) -> None:
    wanted = [getattr(trt.ComputeCapability, name) for name in names]
    config.num_compute_capabilities = len(wanted)
    for number, capability in enumerate(wanted):
        config.set_compute_capability(capability, number)
    # A rejected setting is only logged, so read it back.
    accepted = [config.get_compute_capability(i) for i in range(config.num_compute_capabilities)]
    if accepted != wanted:
        raise DeviceError(f"TensorRT-RTX did not accept {', '.join(names)}: {_errors(log)}")


def _logger(provider: str) -> Any:
    trt = _import(provider)

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        """Collects errors, which TensorRT only logs."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def _errors(log: Any) -> str:
    return "; ".join(log.errors) or "no message"
