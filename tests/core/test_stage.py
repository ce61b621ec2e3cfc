"""A stage's flags, inputs and outputs follow from its function's types."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from core.checkpoint import Checkpoint
from core.settings import Params, ParamsError
from core.stage import Stage, run_stage


class ToyParams(Params):
    """Settings."""

    seed: int
    threads: int
    checkpoint_every: int


class ToyDevice(Params):
    """A device."""

    backend: str


@dataclass(frozen=True)
class Number:
    """An input."""

    value: int

    @classmethod
    def read(cls, path: Path) -> "Number":
        return cls(int(path.read_text()))


@dataclass(frozen=True)
class Scaled:
    """An input that is read with another."""

    value: int

    @classmethod
    def read(cls, path: Path, number: Number) -> "Scaled":
        return cls(int(path.read_text()) * number.value)


@dataclass(frozen=True)
class Result:
    """Two outputs."""

    value: int

    def write(self, out: Path, copy: Path) -> None:
        out.write_text(str(self.value))
        copy.write_text(str(self.value))


def toy(
    settings: ToyParams,
    name: str,
    device: ToyDevice,
    number: Number,
    scaled: Scaled,
    folder: Path,
    checkpoint: Checkpoint,
) -> Result | None:
    """A stage."""
    assert (name, device.backend) == ("phone", "onnxruntime")
    assert checkpoint.load() is None
    checkpoint.save({"inputs": checkpoint.inputs})
    (folder / "inputs").write_text(checkpoint.inputs)
    drawn = int(torch.randint(1000, (1,)))
    return Result(scaled.value + drawn) if scaled.value else None


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, str]:
    write_params(tmp_path)
    (tmp_path / "number").write_text("2")
    (tmp_path / "scaled").write_text("3")
    (tmp_path / "folder").mkdir()
    paths = {name: tmp_path / name for name in ("number", "scaled", "folder", "out", "copy")}
    return {name: str(path) for name, path in paths.items()} | {
        "params": str(tmp_path / "params.yaml"),
        "device": "phone",
    }


def write_params(folder: Path, **changes: int) -> None:
    section = {"seed": 1, "threads": 1, "checkpoint_every": 1} | changes
    content = {"toy": section, "devices": {"phone": {"backend": "onnxruntime"}}}
    (folder / "params.yaml").write_text(json.dumps(content))


def run(flags: dict[str, str]) -> None:
    run_stage(toy, [f"--{name}={value}" for name, value in flags.items()])


def test_inputs_are_bound_by_type_and_the_result_is_written(flags, tmp_path: Path) -> None:
    run(flags)
    first = (tmp_path / "out").read_text()
    assert (tmp_path / "copy").read_text() == first
    assert not (tmp_path / ".out.partial").exists()
    run(flags)
    assert (tmp_path / "out").read_text() == first, "the seed is that of the settings"


def test_a_stage_without_a_result_writes_nothing(flags, tmp_path: Path) -> None:
    (tmp_path / "scaled").write_text("0")
    run(flags)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_that_of_the_inputs(flags, tmp_path: Path) -> None:
    def inputs() -> str:
        (tmp_path / "folder" / "inputs").unlink(missing_ok=True)
        run(flags)
        return (tmp_path / "folder" / "inputs").read_text()

    first = inputs()
    write_params(tmp_path, checkpoint_every=9)
    assert inputs() == first, "no result depends on it"
    write_params(tmp_path, seed=2)
    second = inputs()
    (tmp_path / "number").write_text("5")
    assert len({first, second, inputs()}) == 3


def test_flags_and_sections_are_those_of_the_types() -> None:
    stage = Stage(toy)
    assert list(stage.flags) == ["device", "params", "number", "scaled", "folder", "out", "copy"]
    assert set(stage.sections) == {"toy", "devices"}


def test_an_unknown_device_and_a_missing_flag_are_refused(flags, capsys) -> None:
    with pytest.raises(ParamsError, match=r"no device 'phon'\. Did you mean 'phone'"):
        run(flags | {"device": "phon"})
    del flags["number"]
    with pytest.raises(SystemExit):
        run(flags)
    assert "--number" in capsys.readouterr().err
