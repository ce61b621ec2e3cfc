"""Fake quantisation equals the quantised file, for every operator and precision family."""

from itertools import cycle, repeat
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from devices.quantize.static import calibrate, quantize
from devices.runtimes.registry import backend
from models.nets.evaluate import fold_batch_norms
from models.nets.fake_quantization import FakeQuantize, fake_quantize, remove_rounding
from models.nets.onnx_export import to_onnx
from models.nets.subnet import PlainBlock, initialise
from models.space.architecture import Block
from models.space.operators import OPERATORS, canonical

BLOCKS = {
    "conv": {"kernel": 3},
    "mbconv": {"kernel": 3, "expansion": 2},
    "mbconv with squeeze-excite": {"kernel": 3, "expansion": 2, "squeeze_excite": 1},
    "mbconv with hard_swish": {"kernel": 3, "expansion": 2, "activation": "hard_swish"},
    "mbconv with silu": {"kernel": 3, "expansion": 2, "activation": "silu"},
    "fused_mbconv": {"kernel": 3, "expansion": 2},
    "split_attention_mbconv": {"kernel": 3, "expansion": 2, "splits": 4},
    "depthwise_separable": {"kernel": 3},
    "shufflenet_unit": {"kernel": 3},
    "residual_basic": {"kernel": 3},
    "residual_bottleneck": {"kernel": 3, "reduction": 2},
    "identity": {},
    "resize": {"to": 12},
    "classifier": {"width": 8},
}
SHAPE = (8, 8, 8)
STEPS = {"uint8": 255, "int8": 254}


def network(name: str) -> nn.Module:
    """One block after a convolution, or before it for a resize."""
    operator, stride = name.split()[0], 2 if name in ("identity", "shufflenet_unit") else 1
    block = Block(operator, 8, 8, 8, stride, canonical(operator, BLOCKS[name]))
    front = OPERATORS[operator].place == "front"
    conv = Block("conv", 8, 8, block.out_size if front else 8, 1, canonical("conv", {"kernel": 1}))
    blocks = (block, conv) if front else (conv, block)
    chain = nn.Sequential(*map(PlainBlock, blocks))
    initialise(chain, torch.Generator().manual_seed(0))
    return chain.eval()


def test_every_operator_is_tested():
    assert {name.split()[0] for name in BLOCKS} == set(OPERATORS)


# Placement does not depend on the family, so each takes half of the operators; one has both bits.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "family", "bits"),
    [*zip(BLOCKS, cycle(STEPS), repeat(8)), ("fused_mbconv", "uint8", 7)],
)
def test_fake_quantisation_equals_the_quantised_file(
    name: str, family: str, bits: int, tmp_path: Path
):
    images_NCHW = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(1))
    plain = fold_batch_norms(network(name))
    rounded = fake_quantize(plain, "affine" if family == "uint8" else "symmetric", bits)
    same = {"side_effect": lambda x, *_: x}
    with (  # ranges of the float network, as in calibration
        torch.no_grad(),
        patch("torch.fake_quantize_per_tensor_affine", **same),
        patch("torch.fake_quantize_per_channel_affine", **same),
    ):
        rounded.train()(images_NCHW)
    with torch.no_grad():
        simulated = rounded.eval()(images_NCHW).numpy()
    remove_rounding(plain)
    with torch.no_grad():
        exact = plain(images_NCHW).numpy()
    (tmp_path / "float32.onnx").write_bytes(to_onnx(plain, SHAPE))
    rows = images_NCHW.numpy()[:, np.newaxis]
    source, file = tmp_path / "float32.onnx", tmp_path / "int8.onnx"
    ready = calibrate(source, iter(rows), family, ("minmax",), weight_bits=bits)
    file.write_bytes(quantize(ready, "minmax"))
    with backend("onnxruntime").open(tmp_path / "int8.onnx", 1) as session:
        found = np.concatenate([session(row) for row in rows])
    last = [module for module in rounded.modules() if isinstance(module, FakeQuantize)][-1]
    step = float(last.high - last.low) / STEPS[family]
    # Values at a rounding boundary may be rounded either way.
    wrong = np.abs(found - simulated)
    assert wrong.max() < 2.5 * step
    assert wrong.mean() < 0.5 * np.abs(found - exact).mean()
