"""Evaluation of architectures by a supernet without changing it."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from data.stream import Batch
from models.nets.evaluate import recalibrate
from models.nets.supernet import Supernet, extract
from models.search.evaluation import recalibrated_evaluation
from models.space.space import SearchSpace
from models.space.spec import SpaceSpec

MBCONV = {"kernel": [3], "expansion": [3, 6]}
SPEC = {
    "name": "small",
    "sizes": (8, 64),
    "stem": {"operator": "conv", "channels": 8, "stride": 2, "settings": {"kernel": 3}},
    "stages": [
        {"layers": 2, "stride": 2, "channels": [8], "skip": True, "operators": {"mbconv": MBCONV}}
    ],
    "head": {"operator": "classifier", "settings": {"width": 16}},
}  # fmt: skip


def test_what_is_judged_is_the_recalibrated_slice() -> None:
    torch.manual_seed(0)
    space = SearchSpace(SpaceSpec.model_validate(SPEC), (1, 16, 16), 10)
    supernet = Supernet(space)
    images_NCHW, labels_N = torch.randn(24, 1, 16, 16), torch.arange(24) % 10
    network = space.architecture((0,) * len(space.groups))
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    calibration = [torch.randn(32, 1, 16, 16)]
    parts = [Batch(images_NCHW[i], labels_N[i], i) for i in torch.arange(24).split([16, 8])]
    (found,) = recalibrated_evaluation(supernet, calibration, parts)(0, [network])

    subnet = extract(supernet, network)
    recalibrate(subnet, calibration)
    with torch.no_grad():
        logits_NK = subnet.eval()(images_NCHW)
    assert found.nll == pytest.approx(float(cross_entropy(logits_NK, labels_N)), rel=1e-5)
    right_N = logits_NK.argmax(1) == labels_N
    assert found.accuracy == pytest.approx(float(right_N.float().mean()))
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
