"""TensorRT on NVIDIA GPUs: regular TensorRT for the local GPU, else TensorRT-RTX ahead of time.

An engine is bound to compute capabilities (such as SM89) and to the runtime version, and its
bytes are not reproducible; the portable ONNX file is delivered with it. Code that needs a GPU
driver (`open`, regular TensorRT) follows the documented API and is UNVERIFIED: it was only run up
to the missing driver; `make gpu-check` runs it.
"""

from __future__ import annotations

import importlib
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devices.device import Device, DeviceError
from devices.runtimes.base import MODEL, Built, Capabilities, ConvertingBackend
from devices.runtimes.tensorrt.session import (
    REGULAR,
    RTX,
    TensorRtSession,
    errors_of,
    gpu_capability,
    installed,
    logger,
)

_KEY = "compute_capabilities"
_NO_FLOAT32_GEMM = "SM75"
_OTHERS = (
    " Others (SM87: Jetson Orin, SM90: Hopper) need the regular TensorRT on a machine with that "
    "GPU, and no other one in the list."
)


class TensorRt(ConvertingBackend):
    """Build and run engines; the deliverable is the engine and its source ONNX file."""

    name = "tensorrt"
    session = TensorRtSession
    suffix = ".engine"
    install_hint = "pip install tensorrt-rtx-cu12 (or tensorrt, on a machine with its GPU)"
    activations = "int8"
    native_precisions = ("float32", "float16", "int8")

    def capabilities(self) -> Capabilities:
        """Builds if a TensorRT package is installed; runs if there is a GPU with a driver."""
        gpu = gpu_capability()
        if not (installed(RTX) or (installed(REGULAR) and gpu)):
            reason = f"TensorRT is not installed. Install it: {self.install_hint}."
            return Capabilities(False, False, False, reason)
        if gpu is None:
            reason = "No NVIDIA GPU answers on this machine; engines are built but cannot be run."
            return Capabilities(can_run=False, can_measure=False, reason=reason)
        return Capabilities()

    def version(self) -> str:
        """The version of the TensorRT package in use, or `not installed`."""
        if not self.capabilities().can_build:
            return "not installed"
        return str(importlib.import_module(_local_provider()).__version__)

    def why_not_run(self, device: Device) -> str:
        """Also checks the compute capability of the GPU."""
        gpu, wanted = gpu_capability(), device.compute_capabilities
        other = f"This machine's GPU is {gpu}, but the device is {', '.join(wanted)}."
        return super().why_not_run(device) or ("" if gpu in wanted else other)

    def check_hardware(self, device: Device) -> None:
        """Compute capabilities that the module builds for, and that can run the precision."""
        wanted = device.compute_capabilities
        if provider_for(wanted) == RTX:
            self.require_generations(_KEY, wanted, _known(), _OTHERS)
        if _NO_FLOAT32_GEMM in wanted and device.precision != "float16":
            raise DeviceError(
                f"{_KEY}: {_NO_FLOAT32_GEMM} has no float32 matrix product in TensorRT-RTX. "
                "Set precision: float16, or leave it out of the list."
            )

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Build one engine for all of the device's compute capabilities."""
        details = self.start_build(onnx_model, precision, device)
        provider = provider_for(device.compute_capabilities)
        engine, layers = _build_engine(provider, onnx_model, device.compute_capabilities)
        entry, portable = f"{MODEL}{self.suffix}", f"{MODEL}.onnx"
        (folder / entry).write_bytes(engine)
        shutil.copyfile(onnx_model, folder / portable)
        details |= {
            "provider": provider,
            "runtime_version": str(importlib.import_module(provider).__version__),
            _KEY: list(device.compute_capabilities),
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

    def convert(self, onnx_model: Path, precision: str) -> tuple[bytes, dict[str, Any]]:
        """Build an engine for this machine's GPU. UNVERIFIED."""
        engine, layers = _build_engine(_local_provider(), onnx_model, (gpu_capability() or "",))
        return engine, {"layers": layers}


def provider_for(compute_capabilities: Sequence[str]) -> str:
    """The module that builds for these GPUs: regular TensorRT only for the local GPU alone."""
    own = (gpu_capability(),) == tuple(compute_capabilities)
    return _local_provider() if own else RTX


def _local_provider() -> str:
    return REGULAR if installed(REGULAR) and gpu_capability() is not None else RTX


def _known() -> list[str]:
    """Compute capabilities supported by TensorRT-RTX, in ascending order."""
    names = dir(importlib.import_module(RTX).ComputeCapability)
    known = [name for name in names if name.startswith("SM")]
    return sorted(known, key=lambda name: int(name.removeprefix("SM")))


def _build_engine(
    provider: str, onnx_model: Path, compute_capabilities: Sequence[str]
) -> tuple[bytes, dict[str, int]]:
    """Build an engine; also counts the layers of the parsed network by type.

    The layers of the engine itself cannot be inspected without a GPU.

    Raises:
        DeviceError: a setting or the model was rejected; with the errors of the logger.
    """
    trt, log = importlib.import_module(provider), logger(provider)
    builder = trt.Builder(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx_model.read_bytes()):
        errors = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise DeviceError(f"{provider} cannot read {onnx_model.name}: {errors or errors_of(log)}")
    layers = Counter(network.get_layer(i).type.name for i in range(network.num_layers))
    config = builder.create_builder_config()
    # On by default; its 10 bits of mantissa exceed the limits of a float32 file.
    config.clear_flag(trt.BuilderFlag.TF32)
    if provider == RTX:
        _set_capabilities(trt, config, compute_capabilities, log)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise DeviceError(f"{provider} cannot build {onnx_model.name}: {errors_of(log)}")
    return bytes(engine), dict(sorted(layers.items()))


def _set_capabilities(trt: Any, config: Any, names: Sequence[str], log: Any) -> None:
    wanted = [getattr(trt.ComputeCapability, name) for name in names]
    config.num_compute_capabilities = len(wanted)
    for number, capability in enumerate(wanted):
        config.set_compute_capability(capability, number)
    # A rejected setting is only logged, so read it back.
    accepted = [config.get_compute_capability(i) for i in range(config.num_compute_capabilities)]
    if accepted != wanted:
        raise DeviceError(f"TensorRT-RTX did not accept {', '.join(names)}: {errors_of(log)}")
