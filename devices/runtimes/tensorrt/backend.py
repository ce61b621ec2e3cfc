"""TensorRT on NVIDIA GPUs: regular TensorRT for the local GPU, else TensorRT-RTX ahead of time.

An engine is bound to compute capabilities (such as SM89) and to the runtime version, and its
bytes are not reproducible; the portable ONNX file is delivered with it. Code that needs a GPU
driver (`open`, regular TensorRT) follows the documented API and is UNVERIFIED: it was only run up
to the missing driver.
"""

from __future__ import annotations

import importlib
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devices.device import Device, DeviceError
from devices.runtimes.base import MODEL, Backend, Built, Capabilities
from devices.runtimes.tensorrt.session import (
    REGULAR,
    RTX,
    TensorRtSession,
    errors_of,
    gpu_capability,
    installed,
    logger,
)

_NO_FLOAT32_GEMM = "SM75"


class TensorRt(Backend):
    """Build and run engines; the deliverable is the engine and its source ONNX file."""

    name = "tensorrt"
    session = TensorRtSession
    suffix = ".engine"
    install_hint = "pip install tensorrt-rtx-cu12 (or tensorrt, on a machine with its GPU)"
    activations = "int8"
    opens_onnx = False
    native_precisions = ("float32", "float16", "int8")

    def capabilities(self) -> Capabilities:
        """Builds if a TensorRT package is installed; runs if there is a GPU with a driver."""
        precisions = frozenset(self.native_precisions)
        gpu = gpu_capability()
        if not (installed(RTX) or (installed(REGULAR) and gpu)):
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
        entry, portable = f"{MODEL}{self.suffix}", f"{MODEL}.onnx"
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

    def convert(self, onnx_model: Path) -> bytes:
        """Build an engine for this machine's GPU. UNVERIFIED."""
        provider = REGULAR if _regular_answers() else RTX
        return _build_engine(provider, onnx_model, (gpu_capability() or "",))[0]


def provider_for(compute_capabilities: Sequence[str]) -> str:
    """The module that builds for these GPUs: regular TensorRT only for the local GPU alone."""
    own = (gpu_capability(),) == tuple(compute_capabilities)
    return REGULAR if own and _regular_answers() else RTX


def _regular_answers() -> bool:
    return installed(REGULAR) and gpu_capability() is not None


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
    trt, log = _import(provider), logger(provider)
    builder = trt.Builder(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx_model.read_bytes()):
        errors = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise DeviceError(f"{provider} cannot read {onnx_model.name}: {errors or errors_of(log)}")
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    config = builder.create_builder_config()
    if provider == RTX:
        _set_capabilities(trt, config, compute_capabilities, log)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise DeviceError(f"{provider} cannot build {onnx_model.name}: {errors_of(log)}")
    return bytes(engine), dict(sorted(Counter(layer.type.name for layer in layers).items()))


def _set_capabilities(trt: Any, config: Any, names: Sequence[str], log: Any) -> None:
    wanted = [getattr(trt.ComputeCapability, name) for name in names]
    config.num_compute_capabilities = len(wanted)
    for number, capability in enumerate(wanted):
        config.set_compute_capability(capability, number)
    # A rejected setting is only logged, so read it back.
    accepted = [config.get_compute_capability(i) for i in range(config.num_compute_capabilities)]
    if accepted != wanted:
        raise DeviceError(f"TensorRT-RTX did not accept {', '.join(names)}: {errors_of(log)}")
