"""Invalid params: each mistake is named with rule, value and fix; nothing is started."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.checks.incremental import make_checked_plan
from tests.support import Repository

CPU = {"backend": "onnxruntime", "budget": {"latency_ms": 50.0}, "min_accuracy": 0.0}

PARAMS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a mistyped key": (
        {"supernet": {"epochs": ..., "epocs": 1.0}},
        ("supernet.epocs: unknown key. Did you mean 'epochs'?",),
    ),
    "a mistyped section": (
        {"serch": {"steps": 3}},
        ("serch: unknown section. Did you mean 'search'?",),
    ),
    "a missing section": ({"rank": ...}, ("rank: required",)),
    "an impossible value": (
        {"data": {"val_fraction": 1.5}},
        ("data.val_fraction:", "less than or equal to 0.5", "1.5"),
    ),
    "a wrong type": ({"train": {"epochs": "many"}}, ("train.epochs:", "number", "'many'")),
    "an unknown source": (
        {"data": {"source": "digit"}},
        ("data.source:", "Did you mean 'digits'?"),
    ),
    "an unknown backend": (
        {"devices": {"one": {"backend": "onnxrun"}}},
        ("devices.one.backend", "Did you mean 'onnxruntime'?"),
    ),
    "an unknown backend with a setting of the one meant": (
        {"devices": {"one": {"backend": "tensort", "compute_capabilities": ["SM89"]}}},
        ("devices.one.backend", "Did you mean 'tensorrt'?"),
    ),
    "no devices": ({"devices": {"one": ..., "rtx": ...}}, ("devices: at least one",)),
    "a device's name": (
        {"devices": {"My Phone": CPU}},
        ("devices.My Phone", "lower-case letters"),
    ),
    "a device without budget": (
        {"devices": {"one": {"budget": {"latency_ms": ...}}}},
        ("devices.one.budget", "at least one of latency_ms"),
    ),
    "a setting of another backend": (
        {"devices": {"one": {"compute_capabilities": ["SM89"]}}},
        ("devices.one.compute_capabilities", "only for backend 'tensorrt'"),
    ),
    "a comparison of two equal views": (
        {"supernet": {"strategy": "pi"}},
        ("'pi' compares two views", "the same in 100% of the steps", "data.augment.shift"),
    ),
    "a comparison of two views that are equal half of the time": (
        {"supernet": {"strategy": "pi"}, "data": {"augment": {"flip": True}}},
        ("flip: true, shift: 0", "the same in 50% of the steps"),
    ),
    "an augmentation that moves images out of view": (
        {"data": {"augment": {"shift": 12}}},
        ("augment.shift: 12 pixels move images of 16 pixels out of view", "at most 8"),
    ),
    "SGD's learning rate with AdamW": (
        {"train": {"optimizer": "adamw"}},
        ("train: learning_rate 0.1 is for sgd", "try 0.002"),
    ),
    "an infeasible FLOPs budget": (
        {"devices": {"one": {"budget": {"flops": 10}}}},
        ("keeps flops within 10", "Raise devices.one.budget.flops"),
    ),
    "an infeasible latency budget": (
        {"devices": {"one": {"budget": {"latency_ms": 0.00001}}}},
        ("keeps latency_ms within 1e-05", "Raise devices.one.budget.latency_ms"),
    ),
    "an infeasible share of latency": (
        {"devices": {"one": {"budget": {"latency_ms": ..., "latency_share": 0.001}}}},
        ("keeps latency_share within 0.001", "Raise devices.one.budget.latency_share"),
    ),
    "a share of latency above the whole": (
        {"devices": {"one": {"budget": {"latency_ms": ..., "latency_share": 1.5}}}},
        ("devices.one.budget.latency_share", "less than or equal to 1"),
    ),
    "latency limited twice": (
        {"devices": {"one": {"budget": {"latency_share": 0.5}}}},
        ("devices.one.budget", "latency_ms and latency_share limit the same latency"),
    ),
    "a share of a latency that cannot be measured": (
        {"devices": {"rtx": {"budget": {"flops": ..., "latency_share": 0.5}}}},
        ("devices.rtx.budget: latency_share cannot be used", "Add a budget of flops"),
    ),
    "a space too large for its algorithm": (
        {
            "search": {
                "algorithm": {
                    "name": "exhaustive",
                    "limit": 10,
                    "min_samples": ...,
                    "max_samples": ...,
                }
            }
        },
        ("architectures", "at most 10 (search.algorithm.limit)", "such as evolution"),
    ),
    "a missing space": (
        {"space": {"file": "models/spaces/compct.yaml"}},
        ("compct.yaml: no such search space", "models/spaces/"),
    ),
    "a start of the search that is not there": (
        {"search": {"start_from": "no/such/distribution.json"}},
        ("search.start_from: ", "no/such/distribution.json does not exist", "models/inputs/start"),
    ),
    "the supernet's rate of sgd with adamw": (
        {"supernet": {"optimizer": "adamw"}},
        ("supernet", "learning_rate 0.1 is for sgd"),
    ),
    "weights of another space": (
        {"supernet": {"start_from": "efficientnet_lite0"}},
        ("supernet.start_from: ", "does not fit space", "space.file"),
    ),
    "weights that are not there": (
        {"supernet": {"start_from": "supernet"}},
        ("supernet.file: ", "models/inputs/supernet/supernet.safetensors does not exist"),
    ),
    "more threads than cores on this machine": (
        {"devices": {"one": {"threads": 1000}}},
        ("devices.one.threads: 1000 threads on this machine, which has", "cores"),
    ),
    "images in an output": (
        {"data": {"source": "folder", "path": "artifacts/raw/flowers"}},
        ("data.path: artifacts/raw/flowers lies in artifacts/raw", "to another folder"),
    ),
    "images in a home folder": (
        {"data": {"source": "folder", "path": "~/imgs"}},
        (f"data.path: ~ and $ are not expanded; write {Path.home()}/imgs",),
    ),
    "images the space does not know": ({"data": {"size": 100}}, ("100", "64")),
    "a folder that is not there": (
        {"data": {"source": "folder", "path": "no/such/folder"}},
        ("no/such/folder",),
    ),
    "a signing key that is not there": (
        {"signing_key": "no/such/key.pem"},
        ("no/such/key.pem: no such key", "openssl ecparam"),
    ),
    "a signing key that is none": (
        {"signing_key": "params.yaml"},
        ("params.yaml cannot be used as a key", "openssl ecparam"),
    ),
    "a teacher that is not there": (
        {"teacher": {"source": "onnx", "file": "no/such/teacher.onnx"}},
        ("teacher.file:", "no/such/teacher.onnx is not a file"),
    ),
    "two mistakes at once": (
        {"supernet": {"epochs": -1.0}, "devices": {"one": {"backend": "tflite"}}},
        ("supernet.epochs", "devices.one.backend"),
    ),
}


@pytest.mark.slow
def test_bad_params_are_refused_by_the_program(small: Repository):
    changes, words = PARAMS["two mistakes at once"]
    before = (small.root / "params.yaml").read_bytes()
    small.change(changes)
    code, output = small.netwright("run")
    (small.root / "params.yaml").write_bytes(before)
    assert code == 2, output
    assert all(word in output for word in words), output
    assert "Traceback" not in output


@pytest.mark.slow
@pytest.mark.parametrize("mistake", PARAMS)
def test_each_mistake_in_the_params_is_named(
    mistake: str, small: Repository, monkeypatch: pytest.MonkeyPatch
):
    """The checks of `netwright run`."""
    changes, words = PARAMS[mistake]
    before = (small.root / "params.yaml").read_bytes()
    small.change(changes)
    monkeypatch.chdir(small.root)
    try:
        with pytest.raises(ValueError) as refused:  # noqa: PT011 - the words are checked below
            make_checked_plan(small.root)
    finally:
        (small.root / "params.yaml").write_bytes(before)
    message = str(refused.value)
    for word in words:
        assert word in message
    assert len(message.splitlines()) <= 24, "more than one screen"
    assert not (small.root / "artifacts").exists(), "something was started"
