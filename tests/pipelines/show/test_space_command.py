"""`netwright space`: its output, its picture and its errors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.space import costs
from models.space.file import PRESETS
from models.space.space import SearchSpace
from pipelines.show.space_table import build_rows, format_count, format_values, open_space
from tests.spaces import all_architectures, architecture_at
from tests.support import Netwright

OWN = """\
name: own
sizes: [8, 64]
resolutions: [12, 16]
weights: private
stem: {operator: conv, channels: 4, stride: 2, settings: {kernel: 3}}
stages:
  - layers: 3
    min_layers: 2
    stride: 2
    channels: [4, 8]
    operators:
      mbconv: {kernel: [3, 5], expansion: [2]}
      wide: {operator: mbconv, kernel: [7], expansion: [6]}
head: {operator: classifier, settings: {width: 16}}
"""

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(netwright: Netwright, tmp_path: Path) -> Run:
    """Run the command outside of a repository; returns exit code and output."""
    (tmp_path / "own.yaml").write_text(OWN)
    return lambda *arguments: netwright(tmp_path, "space", *arguments)


def cells(output: str, first: str) -> list[str]:
    """The remaining words of the printed row with this prefix."""
    (line,) = [line for line in output.splitlines() if line.startswith(first)]
    return line[len(first) :].split()


def test_a_preset_is_shown_by_its_name(run: Run) -> None:
    code, output = run("macro")
    assert code == 0
    assert "space 'macro' for 32x32x3 images of 10 classes: 6,561 architectures" in output
    assert "private in the supernet" in output
    # The smallest and largest cost in NAS-Bench-Macro, as published.
    assert cells(output, "multiply-accumulates") == ["7,713,280", "105,660,928"]
    assert cells(output, "parameters") == ["387,882", "2,932,586"]
    assert cells(output, "operator ") == ["identity", "mbconv_k3e3", "mbconv_k5e6"]


def test_a_users_space_is_shown_by_its_path(run: Run) -> None:
    code, output = run("own.yaml", "--size", "20", "--channels", "1", "--classes", "7")
    assert code == 0
    count = 2 * 2 * 3 * 3 * 4
    assert f"space 'own' for 20x20x1 images of 7 classes: {count} architectures" in output
    assert cells(output, "depth") == ["2", "to", "3", "layers"]
    assert cells(output, "resolution") == ["12", "16"]
    assert cells(output, "channels") == ["4", "8"]
    assert cells(output, "resize")[:3] == ["20", "1", "1"]
    assert cells(output, "stage1 layer 3")[:5] == ["3", "4", "1", "4", "8"]
    assert cells(output, "stage1 layer 3")[-2:] == ["yes", "4"]
    assert "wide: kernel 7, expansion 6" in output


def test_the_costs_shown_are_the_smallest_and_the_largest(run: Run, tmp_path: Path) -> None:
    _, output = run("own.yaml")
    everything = list(all_architectures(open_space(str(tmp_path / "own.yaml"), None, None, None)))
    for first, cost in (
        ("multiply-accumulates", costs.flops),
        ("parameters", costs.parameters),
        ("peak activation memory, bytes", costs.peak_activation_bytes),
    ):
        values = [cost(architecture) for architecture in everything]
        assert cells(output, first) == [f"{min(values):,}", f"{max(values):,}"]


def test_the_sizes_of_both_distributions_are_shown(run: Run) -> None:
    _, output = run("own.yaml")
    # Resolution 2, channels 2; per layer the operators, and each operator's settings.
    factorised = 2 + 2 + 2 * (2 + 2 + 1 + 1 + 1) + (3 + 2 + 1 + 1 + 1)
    joint = 2 + 2 + 3 + 3 + 4
    assert f"{factorised} parameters (factorised) or {joint} (joint)" in output


def test_the_number_of_threads_is_restored(run: Run) -> None:
    torch.set_num_threads(2)
    try:
        run("own.yaml")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_picture_is_drawn_and_is_the_same_each_time(
    run: Run, tmp_path: Path, suffix: str
) -> None:
    for name in ("one", "two"):
        code, _ = run("own.yaml", "--picture", f"{name}{suffix}")
        assert code == 0
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("one", "two"))
    assert first == second
    if suffix == ".svg":
        assert first.startswith(b"<?xml")
        return
    with Image.open(tmp_path / "one.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 8, "boxes in several colours"


@pytest.mark.parametrize("name", sorted(file.stem for file in PRESETS.glob("*.yaml")))
def test_the_rows_of_every_preset_hold_each_layer_once(name: str) -> None:
    space = open_space(name, None, None, None)
    shown = [row for row in build_rows(space) if row.name.startswith("stage")]
    assert sum(layers_of(row.name) for row in shown) == len(space.layers)
    assert [row.name for row in build_rows(space)][-1] == "head"


def layers_of(name: str) -> int:
    numbers = [int(word) for word in name.split() if word.isdigit()]
    return numbers[-1] - numbers[0] + 1


def test_counts_are_exact_while_they_can_be_read() -> None:
    assert format_count(10**15 - 1) == "999,999,999,999,999"
    assert format_count(10**15) == "1.00e15"
    assert format_count(6**21) == "2.19e16"
    assert format_values(range(8)) == "0 1 2 3 4 5 6 7"
    assert format_values(range(1000)) == "0 to 999 (1000 values)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compct"], "no search space 'compct'. Did you mean 'compact'?"),
        (["no/such.yaml"], "no/such.yaml: no such search space"),
        (["broken.yaml"], "broken.yaml, line 11, stages.0.channels: list should have at least 1"),
        (["own.yaml", "--size", "65"], "square images of 8 to 64 pixels, not 65x65"),
        (["own.yaml", "--size", "15"], "images of 15 are never enlarged"),
        (["own.yaml", "--size", "0"], "--size"),
        (["own.yaml", "--classes", "1"], "--classes"),
        (["own.yaml", "--picture", "own.gif"], "the suffix must be .png or .svg"),
        (["own.yaml", "--picture", "no/own.png"], "there is no folder no"),
        ([], "PRESET"),
    ],
)
def test_wrong_use_is_refused_with_exit_code_two(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "broken.yaml").write_text("\n" + OWN.replace("[4, 8]", "[]"))
    files = set(tmp_path.iterdir())
    code, output = run(*arguments)
    assert code == 2
    assert message in output
    assert "Traceback" not in output
    assert set(tmp_path.iterdir()) == files


def test_a_space_opened_by_the_command_is_the_space_of_the_file() -> None:
    opened = open_space("compact", None, None, None)
    loaded = SearchSpace.load(PRESETS / "compact.yaml", (1, 28, 28), 10)
    assert opened.groups == loaded.groups
    assert architecture_at(opened, 123).id == architecture_at(loaded, 123).id
