"""Data parallelism: several processes give the same result as one process on the whole batch."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow
WORKER = Path(__file__).parent / "processes" / "learn_together.py"
ROOT = Path(__file__).resolve().parents[2]
NAMES = ("spos", "bn_only", "pi", "sandwich")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Final state of each of two processes, by strategy."""
    out = tmp_path_factory.mktemp("together") / "state"
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "test",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    children = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(out), *NAMES],
            env=os.environ | shared | {"RANK": str(rank)},
            cwd=ROOT,
        )
        for rank in range(2)
    ]
    try:
        assert [child.wait(timeout=180) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
    return [torch.load(f"{out}.{rank}", weights_only=True) for rank in range(2)]


def worker() -> Any:
    spec = importlib.util.spec_from_file_location("learn_together", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_close(found: Any, expected: Any, where: str, tolerance: float) -> None:
    """Two nested states agree to within a tolerance."""
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(
            found, expected, rtol=tolerance, atol=tolerance, msg=lambda text: f"{where}: {text}"
        )
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_close(found[key], expected[key], f"{where}.{key}", tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            assert_close(found[index], value, f"{where}.{index}", tolerance)
    else:
        assert found == pytest.approx(expected, abs=tolerance), where


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_learn_what_one_learns(together: list[dict[str, Any]], name: str) -> None:
    """Weights, statistics, momentum, history, teacher and queue, in double precision."""
    assert_close(together[0][name], worker().learn(name), name, 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_processes_end_with_the_same_state(together: list[dict[str, Any]], name: str) -> None:
    assert_close(together[1][name], together[0][name], name, 0.0)
