"""Every candidate of the preset `wide`: exported, quantised, run, and measured as by a profile."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from devices.device import Budget, Device
from devices.latency.plan import precisions_of
from devices.latency.profile_device import profile_device
from devices.latency.settings import ProfileParams
from devices.measure.target import open_target
from devices.quantize.static import quantize_static
from devices.runtimes.registry import backend
from models.nets.onnx_export import to_onnx
from models.space.architecture import Architecture, Option
from models.space.file import PRESETS, read_spec
from models.space.space import SearchSpace
from tests.conformance.test_operators import (
    CHANNELS,
    COUNT,
    LEAST_AGREEMENT,
    SIZE,
    agreement,
    around,
    digits,
    outputs,
    trained,
)

SPEC = read_spec(PRESETS / "wide.yaml")
CANDIDATES = tuple(
    dict.fromkeys(
        o for stage in SPEC.stages for name in stage.operators for o in stage.options(name)
    )
)
RUNTIMES = ("onnxruntime", "openvino")
QUICK = {"networks": 4, "held_out": 1, "blocks": 1, "network_blocks": 1, "calls": 2}


def label(option: Option) -> str:
    return "-".join([option.operator, *(f"{name}{value}" for name, value in option.settings)])


@cache
def network_of(option: Option) -> Architecture:
    """A small network in which the candidate keeps the shape once and changes it once."""
    same = option.block(CHANNELS[0], CHANNELS[0], SIZE, 1)
    halved = option.block(CHANNELS[0], CHANNELS[2], SIZE, 2)
    return Architecture(tuple(around([same, halved], SIZE)))


def narrowed() -> SearchSpace:
    """`wide` for 16 pixels, with one width, one scale and one layer in every stage."""
    stages = [
        stage.model_copy(update={"channels": [stage.channels[0]], "layers": 1})
        for stage in SPEC.stages
    ]
    changes = {"name": "narrow", "sizes": (16, 16), "images": None, "resolution_shares": None}
    strides = [SPEC.stride_rows[0]]
    spec = SPEC.model_copy(update=changes | {"strides": strides, "stages": stages})
    return SearchSpace(spec, (1, 16, 16), 10)


def test_the_narrowed_space_has_every_candidate_of_wide() -> None:
    whole = SearchSpace(SPEC, (3, 32, 32), 10)
    for space in (whole, narrowed()):
        found = {
            Option(block.operator, block.settings)
            for position in space.possible()[-len(space.layers) - 1 : -1]
            for block in position
        }
        assert found == set(CANDIDATES)
    assert len(CANDIDATES) == 13


@pytest.mark.slow
@pytest.mark.parametrize("option", CANDIDATES, ids=map(label, CANDIDATES))
def test_every_candidate_keeps_its_logits_in_float32_and_int8(
    option: Option, tmp_path: Path
) -> None:
    network = trained(network_of(option))
    images = [image_CHW[None].numpy() for image_CHW in digits()[0][:COUNT]]
    with torch.no_grad():
        expected_NK = network(torch.from_numpy(np.concatenate(images))).numpy()
    assert expected_NK.std(0).min() > 0
    (tmp_path / "float32.onnx").write_bytes(to_onnx(network, (1, SIZE, SIZE)))
    for name in RUNTIMES:
        runtime = backend(name)
        quantised = tmp_path / f"{runtime.activations}.onnx"
        quantize_static(tmp_path / "float32.onnx", quantised, images, runtime.activations)
        for precision, model in (("float32", tmp_path / "float32.onnx"), ("int8", quantised)):
            out = tmp_path / f"{name}-{precision}"
            out.mkdir()
            device = Device(backend=name, budget=Budget(flops=10**9), min_accuracy=0.0)
            built = runtime.build(model, precision, out, device)
            found_NK = outputs(runtime, out / built.entry, images)
            assert agreement(found_NK, expected_NK) > LEAST_AGREEMENT[precision], (name, precision)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
def test_every_candidate_is_measured_by_a_profile(name: str, tmp_path: Path) -> None:
    space = narrowed()
    device = Device(
        backend=name, precision="int8", budget=Budget(latency_ms=100.0), min_accuracy=0.0,
        max_error=1000.0, allow=("squeeze_excite",),
    )  # fmt: skip
    params = ProfileParams.model_validate(QUICK | {"time_limit_s": 0.01})
    found = profile_device(space, open_target(name, device), params, tmp_path)
    assert found.table.measured
    assert set(found.table.block_ms) == {block.key for block in space.blocks()}
    assert set(found.table.precisions) == set(precisions_of(device)) == {"float32", "int8"}
    assert all(found.measurements[key]["ms"] > 0 for key in found.table.block_ms)
