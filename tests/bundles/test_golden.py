"""Golden outputs detect a wrong network even if all hashes were recomputed."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.golden.__main__ import perturbed, refused
from bundles.archive import BundleError
from bundles.check.verify import verify
from bundles.golden import LEAST, MARGIN, Golden, difference_of, read_golden, tolerance_of
from bundles.read import read_bundle
from devices.runtimes.registry import backend
from tests.bundles.forging import thorough


def outputs(model: bytes, golden: Golden, folder) -> np.ndarray:
    """Outputs of a network for the golden inputs."""
    file = folder / "network.onnx"
    file.write_bytes(model)
    with backend("onnxruntime").open(file, 1) as session:
        return np.concatenate([session(row[np.newaxis]) for row in golden.inputs_NCHW])


def golden_of(bundle) -> Golden:
    return read_golden(read_bundle(bundle))


@pytest.mark.parametrize(("precision", "noise"), [("float32", 0.01), ("int8", 0.03)])
def test_noise_in_one_layer_is_detected_but_not_with_the_former_tolerance(
    world, bundles, tmp_path, precision, noise
):
    golden, names = golden_of(bundles["cpu"]), {"float32": "float32", "int8": "int8-minmax"}
    model = (world.root / "quantize" / "cpu" / f"{names[precision]}.onnx").read_bytes()
    right_NK = outputs(model, golden, tmp_path)
    largest = float(np.abs(right_NK).max())
    golden = replace(
        golden, outputs_NK=right_NK, tolerance=tolerance_of(precision, largest, 0.0, 0.1)
    )
    wrong = [outputs(other, golden, tmp_path) for other in perturbed(model, noise)]
    assert len(wrong) > 10
    assert np.mean([refused(wrong_NK, golden) for wrong_NK in wrong]) >= 0.9
    # The former tolerance: a tenth of the largest logit.
    assert np.mean([np.abs(wrong_NK - right_NK).max() > 0.1 * largest for wrong_NK in wrong]) < 0.5


def test_verify_refuses_a_wrong_network_with_recomputed_hashes(bundles, tmp_path):
    def wrong(content, files):
        files["model.onnx"] = list(perturbed(files["model.onnx"], 0.03))[2]

    path = tmp_path / "forged.tar.gz"
    path.write_bytes(thorough(bundles["cpu"], wrong))
    checks = {check.name: check for check in verify(path).checks}
    assert checks["hashes"].passed
    assert checks["consistency"].passed
    assert not checks["golden"].passed
    assert "golden outputs differ by" in checks["golden"].detail


@pytest.mark.parametrize("device", ["cpu", "edge", "phone"])
def test_the_tolerance_follows_the_measured_difference(world, bundles, device):
    content = read_bundle(bundles[device])
    golden, last = golden_of(bundles[device]), content.manifest.checks[-1]
    largest = float(np.abs(golden.outputs_NK).max())
    least = LEAST[content.manifest.precision] * largest
    assert golden.tolerance == pytest.approx(max(MARGIN * last.max_difference, least))
    assert golden.tolerance < 0.05 * largest


def test_without_a_measurement_the_tolerance_is_the_param():
    assert tolerance_of("int8", 20.0, None, 0.1) == pytest.approx(2.0)
    assert tolerance_of("int8", 20.0, 5.0, 0.1) == pytest.approx(2.0)
    assert tolerance_of("int8", 20.0, 0.4, 0.1) == pytest.approx(0.6)
    assert tolerance_of("int8", 20.0, 0.0, 0.1) == pytest.approx(0.24)


def test_many_small_differences_fail_and_one_does_not(bundles):
    golden = golden_of(bundles["cpu"])
    one_NK = golden.outputs_NK.copy()
    one_NK[0, 0] += 0.9 * golden.tolerance
    assert difference_of("bundle", one_NK, golden, "here") == pytest.approx(
        0.9 * golden.tolerance, rel=1e-3
    )
    with pytest.raises(BundleError, match="on average"):
        difference_of("bundle", golden.outputs_NK + 0.9 * golden.tolerance, golden, "here")
