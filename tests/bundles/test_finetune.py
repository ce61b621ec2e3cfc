"""Fine-tuning in the stage `quantize`: when it runs, its outputs, and resuming."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from core.files import read_json, sha256_file
from core.settings import read_section
from core.stage import run_stage
from data.dataset import DatasetInfo, read_split
from devices.measure.inference import Logits, reference_logits
from devices.quantize import finetune as finetuning
from devices.quantize.calibration import calibration_images
from devices.quantize.settings import QuantizeParams
from devices.quantize.static import quantize_static
from models.nets.equalization import equalise
from models.nets.evaluate import fold_batch_norms
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet
from models.nets.weights import to_bytes
from models.training.objective import supervised_step
from stages.quantize import quantize

pytestmark = pytest.mark.slow

SPREAD = 1.5
STEPS = 63  # three passes over 1400 images in batches of 64


@pytest.fixture(scope="module")
def uneven(world, tmp_path_factory) -> Path:
    """A trained network with very different channel ranges under per-tensor scales.

    A convolution's channel times s, before a ReLU, and the next one's weights for it divided by
    s: in float nothing changes.
    """
    network = Subnet.read(world.root / "train")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for block in network.blocks:
            cells = block.cells
            for name, following in (("expand", "depthwise"), ("depthwise", "project")):
                if name not in cells:
                    continue
                norm, weight = cells[name].norm, cells[following].conv.weight
                scale_C = torch.exp(SPREAD * torch.randn(norm.num_features, generator=generator))
                norm.weight.mul_(scale_C)
                norm.bias.mul_(scale_C)
                weight.div_(
                    scale_C.reshape((-1, 1, 1, 1) if following == "depthwise" else (1, -1, 1, 1))
                )
    folder = tmp_path_factory.mktemp("uneven")
    (folder / "model.safetensors").write_bytes(to_bytes(network))
    text = (world.root / "train" / "architecture.json").read_text()
    (folder / "architecture.json").write_text(text)
    return folder


@pytest.fixture(scope="module")
def flags(world, uneven: Path, tmp_path_factory):
    """Flags of the stage with params that always fine-tune, plus changes."""
    content = YAML(typ="safe", pure=True).load(world.params)
    root = tmp_path_factory.mktemp("finetune")

    def make(out: Path, device: str = "cpu", model: Path = uneven, **changes) -> list[str]:
        file = root / f"{out.name}.yaml"
        short = {"epochs": 3.0, "min_steps": 1, "learning_rate": 0.002}
        section = content["quantize"] | {"methods": ["minmax"], "mixed": "never"}
        section["finetune"] = {**short, "when": "always", **changes}
        devices = {device: content["devices"][device]}
        YAML().dump(content | {"quantize": section, "devices": devices}, file)
        given = {
            "params": file,
            "device": device,
            "data": world.root / "data",
            "model": model,
            "profile": world.root / "profile" / device,
            "out": out,
        }
        return [f"--{name}={value}" for name, value in given.items()]

    return make


@pytest.fixture(scope="module")
def whole(flags, tmp_path_factory) -> Path:
    """Output of the stage, fine-tuned without interruption."""
    out = tmp_path_factory.mktemp("whole") / "cpu"
    run_stage(quantize, flags(out))
    return out


def test_a_fine_tuned_variant_is_compared_with_the_trained_networks_float32(whole: Path):
    found = read_json(whole / "quantize.json", "netwright/quantize/1")
    names = [row["name"] for row in found["candidates"]]
    assert names == ["float32", "int8-minmax", "int8-qat-minmax"]
    row, hop = found["candidates"][-1], found["hops"][-1]
    assert (row["method"], row["base_method"], row["source"]) == ("qat", "minmax", "float32")
    assert (hop["from"], hop["to"]) == ("float32 ONNX", "int8-qat-minmax ONNX")
    assert hop["agreement"] == row["agreement"] > 0.9
    assert hop["accuracy"] == row["accuracy"]
    assert hop["max_difference"] > 0
    assert found["finetuned"]["file"] == "float32-qat.onnx"
    assert (whole / "float32-qat.onnx").is_file()
    assert found["finetuned"]["history"][-1]["step"] == STEPS
    assert not whole.with_name(".cpu.partial").exists()


def test_fine_tuning_recovers_accuracy_lost_by_rounding(world, uneven: Path, whole: Path):
    found = read_json(whole / "quantize.json", "netwright/quantize/1")
    exact, rounded, tuned = (row["accuracy"] for row in found["candidates"])
    assert rounded < exact - 0.1
    assert tuned > exact - 0.03
    # Channel equalisation recovers most of it, fine-tuning some more.
    info, train = DatasetInfo.read(world.root / "data"), read_split(world.root / "data", "train")
    even = fold_batch_norms(Subnet.read(uneven))
    equalise(even)
    (whole / "even.onnx").write_bytes(to_onnx(even, info.image_shape))
    seed = read_section(world.params, "quantize", QuantizeParams).seed  # the stage's images
    rows = calibration_images(train, info, 64, np.random.default_rng(seed))
    quantize_static(whole / "even.onnx", whole / "int8-even.onnx", rows, "uint8")

    def logits(name: str) -> Logits:
        return reference_logits(
            whole / f"{name}.onnx", read_split(world.root / "data", "test"), info
        )

    errors = [
        float(np.square(logits(name) - logits("float32")).mean())
        for name in ("int8-minmax", "int8-even", "int8-qat-minmax")
    ]
    for name in ("even", "int8-even"):
        (whole / f"{name}.onnx").unlink()
    assert errors[2] < 0.95 * errors[1] < 0.1 * errors[0]


def test_a_stage_that_failed_after_fine_tuning_resumes_to_the_same_bytes(
    flags, whole: Path, tmp_path: Path, monkeypatch
):
    class StoppedError(Exception):
        pass

    def stop(*_):
        raise StoppedError

    steps = []

    def counting_step(*arguments):
        step = supervised_step(*arguments)
        return lambda *given: steps.append(0) or step(*given)

    out = tmp_path / "cpu"
    again = flags(out, checkpoint_every=20)
    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "remove_rounding", stop)
        with pytest.raises(StoppedError):
            run_stage(quantize, again)
    assert not (out / "quantize.json").exists()
    monkeypatch.setattr(finetuning, "supervised_step", counting_step)
    run_stage(quantize, again)
    assert len(steps) < 20 < STEPS
    names = sorted(file.name for file in whole.glob("*.onnx"))
    assert names == sorted(file.name for file in out.glob("*.onnx"))
    assert [sha256_file(out / name) for name in names] == [sha256_file(whole / n) for n in names]


def test_it_runs_only_if_no_earlier_variant_meets_the_accuracy_budget(
    world, flags, tmp_path: Path, monkeypatch
):
    from devices.quantize import build

    class CalledError(Exception):
        pass

    def refuse(*_):
        raise CalledError

    monkeypatch.setattr(build, "build_finetuned", refuse)
    run_stage(quantize, flags(tmp_path / "kept", "gpu", world.root / "train", when="needed"))
    found = read_json(tmp_path / "kept" / "quantize.json", "netwright/quantize/1")
    assert found["finetuned"] is None
    with pytest.raises(CalledError):
        run_stage(quantize, flags(tmp_path / "lost", "gpu", when="needed"))
    run_stage(quantize, flags(tmp_path / "never", "gpu", when="never"))
