"""What the benchmark of int8 stands on; its numbers are for whoever runs it."""

import torch

from benchmarks.quantize import cells, lost, report
from benchmarks.quantize_forms import Row
from benchmarks.quantize_networks import KNOWN, adapted
from models.nets.evaluate import fold_batch_norms
from models.nets.fake_quantization import FakeQuantize, fake_quantize


def row(form: str, accuracy: float | None, runtime: str = "openvino", **given: object) -> Row:
    return Row("net", runtime, form, accuracy, **given)  # type: ignore[arg-type]


def test_losses_are_told_by_runtime_and_apart_for_fine_tuned_files() -> None:
    rows = [
        row("float32", 0.9),
        row("int8 minmax", 0.8),
        row("int8 qat entropy", 0.89),
        row("float32", 0.91, "litert"),
        row("int8 minmax", 0.92, "litert"),
    ]
    expected = "calibrated -0.0100 to +0.1000; fine-tuned +0.0100 to +0.0100"
    assert lost("net", rows) == f"- net loses of top-1 in int8: {expected}."


def test_what_was_not_measured_is_a_dash_and_what_cannot_run_says_why() -> None:
    assert cells(row("float32", 0.9, size=2000)) == (
        *("net", "openvino", "float32", "0.9000", "-", "2", "-", "-"),
    )
    text = report([row("float32", 0.9), row("int8 minmax", None, why_not="no such operator")])
    assert "| net | openvino | int8 minmax | - | - | - | - | - |" in text
    assert "- net, openvino, int8 minmax: no such operator" in text
    assert "loses" not in text


def test_torchvisions_networks_take_small_images_and_can_be_fine_tuned() -> None:
    for name in KNOWN:
        torch.manual_seed(0)
        network = adapted(name, channels=1, classes=10).eval()
        images_NCHW = torch.randn(1, 1, 28, 28)
        plain = fold_batch_norms(network)
        with torch.no_grad():
            torch.testing.assert_close(
                plain(images_NCHW), network(images_NCHW), rtol=1e-3, atol=1e-4
            )
        rounded = fake_quantize(plain, "affine")
        assert sum(isinstance(module, FakeQuantize) for module in rounded.modules()) > 50
        assert rounded(images_NCHW).shape == (1, 10)
