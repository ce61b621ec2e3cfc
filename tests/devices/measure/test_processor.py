"""CPU features, and int8 outputs on this CPU against the reference."""

from pathlib import Path

import numpy as np
import pytest

from devices.device import Budget, Device
from devices.measure.fingerprint import differences, machine_state
from devices.quantize.static import calibrate, quantize
from devices.runtimes.onnxruntime.backend import open_reference
from devices.runtimes.onnxruntime.session import PRECISE_INT8, session_options
from devices.runtimes.processor import features, saturates
from devices.runtimes.registry import backend

AVX2 = "processor : 0\nflags\t\t: fpu sse4_2 avx avx2 fma\n"
VNNI = "flags\t\t: avx2 avx512f avx512_vnni amx_int8\n"
ARM = "Features\t: fp asimd asimddp i8mm\n"


@pytest.mark.parametrize(
    ("listing", "found"),
    [
        (AVX2, ["avx2"]),
        (VNNI, ["amx_int8", "avx2", "avx512_vnni", "avx512f"]),
        (ARM, ["asimddp", "i8mm"]),
        ("model name: none\n", None),
    ],
)
def test_the_features_that_decide_between_kernels_are_read(listing, found):
    assert features(listing) == found


@pytest.mark.parametrize(
    ("system", "known", "expected"),
    [
        ("Linux x86_64", ["avx2"], True),
        ("Linux x86_64", ["avx2", "avx512f"], True),
        ("Linux x86_64", ["avx2", "avx_vnni"], False),
        ("Linux x86_64", ["avx512_vnni", "avx512f"], False),
        ("Windows AMD64", None, True),  # not known
        ("Linux aarch64", ["asimddp"], False),
        ("Darwin arm64", None, False),
    ],
)
def test_only_x86_without_vnni_saturates(system, known, expected):
    assert saturates(system, known) is expected


def test_the_exact_kernels_are_asked_for_where_the_others_saturate():
    wanted = "1" if saturates() else "0"
    assert session_options(1).get_session_config_entry(PRECISE_INT8) == wanted


@pytest.mark.parametrize(("known", "bits"), [(["avx2"], 7), (["avx512_vnni"], 8), (None, 7)])
def test_openvino_gets_weights_that_cannot_saturate(known, bits):
    machine = {"system": "Linux x86_64", "features": known}
    assert backend("openvino").weight_bits(machine) == bits
    assert backend("openvino").for_unit("GPU").weight_bits(machine) == 8
    assert backend("onnxruntime").weight_bits(machine) == 8


def test_of_a_processor_of_which_nothing_is_known_the_worst_is_assumed():
    assert backend("openvino").weight_bits(None) == 7


def test_a_processor_with_other_features_makes_a_profile_stale():
    now = machine_state("onnxruntime", 1)
    changed = differences(now | {"features": ["avx512_vnni"]}, now)
    assert [text.split(" was ")[0] for text in changed] == ["features"]


def rows(count: int, seed: int) -> list[np.ndarray]:
    """Large values of one sign, whose products overflow 16 bits."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(0, 4, (1, 1, 8, 8)).astype(np.float32) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "litert", "executorch"])
def test_int8_computes_what_its_file_states_on_this_processor(
    small: Path, tmp_path: Path, name: str
):
    runtime = backend(name)
    bits = runtime.weight_bits(machine_state(name, 1))
    ready = calibrate(small, iter(rows(32, 0)), runtime.activations, ("minmax",), weight_bits=bits)
    file = tmp_path / "int8.onnx"
    file.write_bytes(quantize(ready, "minmax"))
    device = Device(backend=name, budget=Budget(flops=1), min_accuracy=0)
    entry = tmp_path / runtime.build(file, "int8", tmp_path, device).entry
    with open_reference(file) as reference, runtime.open(entry, 1) as session:
        stated_NK = np.concatenate([reference(row) for row in rows(64, 1)])
        found_NK = np.concatenate([session(row) for row in rows(64, 1)])
    off_NK, step = np.abs(found_NK - stated_NK), np.ptp(stated_NK) / 255
    assert off_NK.max() <= 2.5 * step  # rounding at a step boundary
    assert off_NK.mean() <= 0.2 * step
