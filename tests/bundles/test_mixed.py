"""Mixed precision: int8 with some layers in float."""

import shutil

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from bundles.check.verify import verify
from bundles.read import read_bundle
from core.files import read_json, write_bytes
from devices.quantize.mixed import divergence, find_fewest
from models.nets.subnet import Subnet
from models.nets.weights import to_bytes

pytestmark = pytest.mark.slow

OUTLIER = 3000.0


@pytest.fixture(scope="module")
def harder(world, tmp_path_factory):
    """The same network with one outlier channel between two layers.

    One layer's channel is scaled up and the next layer's down again: float does not notice, and
    one scale for the whole tensor rounds every other channel to nothing.
    """
    root = tmp_path_factory.mktemp("harder") / "world"
    shutil.copytree(world.root, root, ignore=shutil.ignore_patterns("quantize", "export", "bundle"))
    network = Subnet.read(root / "train")
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    depthwise = next(i for i, m in enumerate(convolutions) if m.groups > 1)
    with torch.no_grad():
        norms[depthwise - 1].weight[0] *= OUTLIER
        norms[depthwise - 1].bias[0] *= OUTLIER
        convolutions[depthwise].weight[0] /= OUTLIER
    write_bytes(root / "train" / "model.safetensors", to_bytes(network))
    return type(world)(root)


def set_params(world, **changes):
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(world.params)
    content["quantize"] |= changes
    content["quantize"]["finetune"] = {"when": "never"}  # it would run after mixed
    content["devices"]["edge"]["max_accuracy_drop"] = 0.02
    with world.params.open("w") as file:
        yaml.dump(content, file)


def quantised(world, device="edge"):
    folder = world.quantize(device)
    return read_json(folder / "quantize.json", "netwright/quantize/1")


def test_the_layers_beside_an_outlier_stay_in_float_and_the_bundle_says_which(harder):
    set_params(harder, mixed="needed", methods=["minmax"])
    found = quantised(harder)
    content = (harder.root / "quantize/edge/int8-mixed.onnx").read_bytes()
    assert quantised(harder)["mixed"] == found["mixed"]  # rebuilt, same result
    assert (harder.root / "quantize/edge/int8-mixed.onnx").read_bytes() == content
    rows = {row["name"]: row for row in found["candidates"]}
    assert "int8-minmax loses" in rows["int8-minmax"]["rejected"]
    mixed = rows["int8-mixed"]
    assert mixed["rejected"] is None
    assert (mixed["method"], mixed["base_method"], mixed["source"]) == (
        "mixed",
        "minmax",
        "float32",
    )
    assert {"/blocks.1/expand/conv/Conv", "/blocks.1/depthwise/conv/Conv"} <= {*mixed["in_float"]}
    assert len(mixed["in_float"]) <= 0.5 * len(found["mixed"]["sensitivity"])
    assert mixed["latency_ms"] > 0
    assert rows["float32"]["latency_ms"] > 0
    assert (found["chosen"], found["file"]) == ("int8", "int8-mixed.onnx")
    harder.export("edge")
    bundle = harder.bundle("edge")
    assert verify(bundle).passed
    manifest = read_bundle(bundle).manifest
    assert manifest.model.built_from == "int8-mixed.onnx"
    assert manifest.accuracy.int8 == mixed["accuracy"]
    assert [check.target for check in manifest.checks][1:3] == ["float32 ONNX", "int8-mixed ONNX"]
    card = read_bundle(bundle).files["MODEL_CARD.md"].decode()
    count = len(mixed["in_float"])
    assert f"| int8-mixed (delivered) | minmax, {count} layers in float |" in card


def test_mixed_never_builds_no_mixed_file(harder):
    set_params(harder, mixed="never", methods=["minmax"])
    assert [row["name"] for row in quantised(harder, "cpu")["candidates"]] == [
        "float32",
        "int8-minmax",
    ]


def test_the_reason_names_a_too_small_max_float_share(harder):
    set_params(harder, mixed="needed", methods=["minmax"], max_float_share=0.01)
    found = quantised(harder, "cpu")
    assert not found["mixed"]["kept"]
    assert "with 1 of" in found["reason"]
    assert "quantize.max_float_share" in found["reason"]


def test_find_fewest_finds_the_minimum_with_few_calls():
    for least in range(1, 21):
        calls = []

        def keeps(count, least=least, calls=calls):
            calls.append(count)
            return count >= least

        assert find_fewest(20, keeps) == least
        assert len(calls) <= 6
    assert find_fewest(20, lambda count: False) is None
    assert find_fewest(1, lambda count: True) == 1


def test_divergence_is_zero_for_equal_answers_and_grows_with_the_difference():
    logits_NK = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]], np.float32)
    assert divergence(logits_NK, logits_NK + 5) == pytest.approx(0, abs=1e-12)
    near, far = (divergence(logits_NK, logits_NK * share) for share in (0.9, 0.5))
    assert 0 < near < far
    p, q = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    expected = float((p * np.log(p / q)).sum())
    assert divergence(np.log(p)[None], np.log(q)[None]) == pytest.approx(expected)
