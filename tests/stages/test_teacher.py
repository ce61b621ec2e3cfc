import json
from pathlib import Path

import numpy as np
import pytest

from data.dataset import DatasetInfo, read_split
from data.stream import eval_batches
from models.nets.evaluate import logits
from models.nets.subnet import Subnet
from models.nets.weights import load_into
from models.space.architecture import Architecture
from models.space.costs import block_flops


@pytest.mark.slow
def test_the_teacher_is_the_largest_network_and_better_than_the_supernet(
    world, teacher: Path
) -> None:
    architecture = Architecture.from_json(json.loads((teacher / "architecture.json").read_text()))
    assert architecture == world.space.extreme(block_flops, largest=True)
    summary = json.loads((teacher / "teacher.json").read_text())
    assert summary["accuracy"]["test"] > 0.85
    assert summary["flops"] == sum(map(block_flops, architecture.present))


def test_its_logits_are_of_the_plain_images_in_order(world, teacher: Path) -> None:
    content = json.loads((teacher / "architecture.json").read_text())
    network = Subnet(Architecture.from_json(content)).eval()
    load_into(network, teacher / "teacher.safetensors")
    info, train = DatasetInfo.read(world.root / "data"), read_split(world.root / "data", "train")
    written_NK = np.load(teacher / "train_logits.npy")
    assert written_NK.dtype == np.float32
    found_NK = logits(network, eval_batches(train, info, 100))
    np.testing.assert_allclose(written_NK, found_NK, rtol=1e-3, atol=1e-3)
    assert (written_NK.argmax(1) == train.labels_N).mean() > 0.9


def test_the_same_inputs_give_the_same_bytes(world, teacher: Path, tmp_path: Path) -> None:
    again = world.run("teacher", tmp_path / "teacher")
    for file in teacher.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name
