"""Stages: typed functions that are run by the flags of a command.

A stage's parameters say what it reads, and its result says what it writes:

    def rank(settings: RankParams, data: Images, checkpoint: Checkpoint) -> RankResult: ...

`run_stage` binds every parameter by its name and annotation:

- a settings class: the section of the params file with the parameter's name; `settings` is the
  section named like the stage;
- `device`: the entry of the section `devices` that `--device` names; `name: str` is that name;
- a class with `read(path)`: what it reads from `--PARAMETER`. Further parameters of `read` are
  bound to the stage's earlier parameters of the same names;
- `Path`: the path itself;
- `Checkpoint`: that of these inputs, beside `--out`;
- `Processes`: those that share every batch; `settings.processes` of them are started by torchrun;
- `torch.device`: where this process computes, by `settings.device`.

A result has `write`, whose parameters are the paths of its files: `write(out)` writes to `--out`.
"""

from __future__ import annotations

import argparse
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from core.checkpoint import Checkpoint, inputs_fingerprint
from core.distributed import Processes, join, launched, relaunch, select_device
from core.errors import nearest
from core.process import prepare_machine
from core.settings import Params, ParamsError, read_section

SETTINGS, DEVICE, NAME, OUT = "settings", "device", "name", "out"
_LATE = (Checkpoint, Processes, torch.device)
"""Bound after all inputs are read."""


@dataclass(frozen=True)
class Stage:
    """A stage's function; its name is the stage's."""

    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """Name of the stage."""
        return self.function.__name__

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The types of the function's parameters, by name."""
        hints = typing.get_type_hints(self.function)
        return {name: kind for name, kind in hints.items() if name != "return"}

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The parameters of the result's `write`."""
        result = typing.get_type_hints(self.function)["return"]
        kinds = typing.get_args(result) if isinstance(result, types.UnionType) else (result,)
        written = [kind for kind in kinds if kind is not types.NoneType]
        return tuple(name for kind in written for name in _names(kind.write) if name != "self")

    @property
    def sections(self) -> dict[str, Any]:
        """The sections of the params file that the stage reads, with their types."""
        found = {
            self._section(n): kind for n, kind in self.parameters.items() if _is_section(n, kind)
        }
        if self._has_device:
            found["devices"] = types.GenericAlias(dict, (str, self.parameters[DEVICE]))
        return found

    @property
    def flags(self) -> dict[str, type]:
        """The flags of its command, without their dashes."""
        inputs = [
            name
            for name, kind in self.parameters.items()
            if kind not in _LATE and not _is_section(name, kind) and name not in {DEVICE, NAME}
        ]
        named = {DEVICE: str} if self._has_device else {}
        return named | dict.fromkeys(["params", *inputs, *self.outputs], Path)

    @property
    def _has_device(self) -> bool:
        return self.parameters.get(DEVICE, torch.device) is not torch.device

    def _section(self, parameter: str) -> str:
        return self.name if parameter == SETTINGS else parameter

    def bind(self, flags: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
        """Read the stage's inputs; `arguments` are the command's, for a start under torchrun.

        Raises:
            ValueError: an input is missing or invalid.
        """
        bound: dict[str, Any] = {
            name: read_section(flags["params"], self._section(name), kind)
            for name, kind in self.parameters.items()
            if _is_section(name, kind)
        }
        settings = bound.get(SETTINGS, next(iter(bound.values()), None))
        prepare_machine(getattr(settings, "threads", 1), getattr(settings, "seed", 0))
        for name, kind in self.parameters.items():
            if name not in bound and kind not in _LATE:
                bound[name] = self._read(name, kind, flags, bound)
        for name, kind in self.parameters.items():
            if kind is Checkpoint:
                bound[name] = Checkpoint(flags[OUT], self._fingerprint(flags, bound))
        if Processes in self.parameters.values():
            self._start_processes(settings, bound, arguments)
        # In the parameters' order.
        return {name: bound[name] for name in self.parameters}

    def _read(self, name: str, kind: Any, flags: Mapping[str, Any], bound: dict[str, Any]) -> Any:
        if name == DEVICE:
            return _pick_device(flags["params"], flags[DEVICE], kind)
        if name == NAME:
            return flags[DEVICE]
        return flags[name] if kind is Path else _call(kind.read, bound, flags[name])

    def _fingerprint(self, flags: Mapping[str, Any], bound: Mapping[str, Any]) -> str:
        """Fingerprint of all inputs: settings and devices by value, files by their content."""
        parts: list[Any] = []
        for name in self.parameters:
            if name in bound and name not in {OUT, *self.outputs, "params", NAME}:
                parts.append(_content(bound[name], flags.get(name)))
        return inputs_fingerprint(self.name, *parts)

    def _start_processes(
        self, settings: Any, bound: dict[str, Any], arguments: Sequence[str]
    ) -> None:
        """Bind `Processes` and `torch.device`, or replace this process by torchrun."""
        if hasattr(settings, "check"):
            _call(settings.check, bound)
        device = select_device(self.name, getattr(settings, DEVICE, "cpu"), settings.processes)
        if settings.processes > 1 and not launched():
            relaunch(self.name, arguments, settings.processes, settings.threads)
        processes = join(self.name, settings.processes, device)
        values = {Processes: processes, torch.device: device}
        bound.update({n: values[kind] for n, kind in self.parameters.items() if kind in values})


def run_stage(function: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Run a stage by the flags of its command, and write its result.

    Raises:
        ValueError: an input is missing or invalid, or the stage failed.
    """
    stage = Stage(function)
    flags = vars(_parser(stage).parse_args(arguments))
    bound = stage.bind(flags, arguments)
    result = function(**bound)
    if result is not None:
        result.write(**{name: flags[name] for name in stage.outputs})
    if all(value.first for value in bound.values() if isinstance(value, Processes)):
        for value in bound.values():
            if isinstance(value, Checkpoint):
                value.clear()


def _parser(stage: Stage) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m stages {stage.name}",
        description=inspect.getdoc(stage.function),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, kind in stage.flags.items():
        parser.add_argument(f"--{name}", type=kind, required=True)
    return parser


def _is_section(name: str, kind: Any) -> bool:
    """Whether a parameter is a section of the params file."""
    if name == DEVICE:
        return False
    return typing.get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, Params))


def _pick_device(params: Path, name: str, kind: Any) -> Any:
    devices: dict[str, Any] = read_section(params, "devices", dict[str, kind])
    if name not in devices:
        raise ParamsError(f"{params} has no device '{name}'.{nearest(name, devices)}")
    return devices[name]


def _content(value: Any, path: Path | None) -> Any:
    """What a stage's result depends on of one input."""
    if hasattr(value, "identity"):
        return value.identity
    if isinstance(value, Mapping):
        return {name: item.model_dump() for name, item in value.items()}
    return path if isinstance(path, Path) else value


def _names(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _call(function: Callable[..., Any], bound: Mapping[str, Any], *first: Any) -> Any:
    """Call with `first`, and the bound values that have the names of further parameters."""
    return function(*first, **{name: bound[name] for name in _names(function)[len(first) :]})
