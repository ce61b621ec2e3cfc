"""Summaries of bundles that were not built."""

from typing import Any

from bundles.summary import BundleSummary


def bundle_summary(device: str = "edge-cpu", **changes: Any) -> BundleSummary:
    """The summary of a measured device with one int8 candidate; `changes` are JSON values."""
    latency = {"predicted": 0.064, "measured": 0.068, "interval": (0.066, 0.07), "budget": 0.09}
    candidate = {
        "name": "int8-minmax",
        "precision": "int8",
        "file": "int8-minmax.onnx",
        "accuracy": 0.9,
        "val_accuracy": 0.9,
        "agreement": 0.99,
        "latency_ms": 0.05,
        "size_bytes": 1,
    }
    content = {
        "device": device,
        "architecture": {},
        "architecture_id": "0",
        "architecture_short": "16 k3e3 k3e6 / 32/2 k3e6 k3e3 - / 32/2 k5e3 k5e6 k5e6 k5e3 / 64",
        "precision": "float32",
        "accuracy": {"float32": 0.91484, "int8": 0.9, "delivered": 0.91459},
        "latency_ms": latency | {"share": 0.4},
        "why_not_measured": None,
        "costs": {"flops": 1_000_000, "parameters": 1},
        "budget": {"latency_ms": 0.09},
        "min_accuracy": 0.5,
        "candidates": (candidate,),
        "hops": (),
        "size_bytes": 800_000,
        "bundle": "artifacts/bundle/edge-cpu/edge-cpu.tar.gz",
        "sha256": "0",
        "passed": True,
        "reasons": (),
    }
    return BundleSummary.model_validate(content | changes)
