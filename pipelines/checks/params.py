"""All sections of `params.yaml`, and the class that each binds to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bundles.settings import BundleParams
from core.errors import nearest
from core.moved import moved
from core.settings import Params, ParamsError, Roots, bind_roots, bind_section
from core.system import describe_os_error
from core.yaml_file import read_yaml
from data.settings import DataParams
from devices.device import Device
from devices.fleet.settings import FleetParams
from devices.latency.settings import ProfileParams
from devices.measure.settings import ExportParams
from devices.quantize.settings import QuantizeParams
from models.search.race.settings import RaceParams
from models.search.rank.settings import RankParams
from models.search.settings import SearchParams
from models.training.settings import TrainParams
from models.training.supernet.settings import SupernetParams
from models.training.teachers.settings import TeacherParams
from pipelines.checks.roots import RootParams
from pipelines.graph import PARAMS


class SpaceParams(Params):
    """The search space. `dvc.yaml` passes the file to the stages."""

    file: str = Field(min_length=1)
    """YAML file of the search space, from the repository's root."""


SECTIONS: dict[str, Any] = {
    "data": DataParams,
    "space": SpaceParams,
    "supernet": SupernetParams,
    "teacher": TeacherParams,
    "profile": ProfileParams,
    "search": SearchParams,
    "rank": RankParams,
    "race": RaceParams,
    "fleet": FleetParams,
    "train": TrainParams,
    "quantize": QuantizeParams,
    "export": ExportParams,
    "bundle": BundleParams,
    "devices": dict[str, Device],
}
"""The class of each section."""

REQUIRED = (*Roots.model_fields, *SECTIONS)
"""Top-level keys that `dvc.yaml` tracks: DVC does not run a stage if one is missing."""


@dataclass(frozen=True)
class Bound:
    """The sections that bind to their class, and the problems of the others.

    The root keys are the section `roots`.
    """

    values: Mapping[str, Any]
    problems: tuple[str, ...]


def bind_params(root: Path) -> Bound:
    """Bind every section, collecting all errors; ParamsError if the file cannot be read at all."""
    content, known = read_yaml(root / PARAMS), [*RootParams.model_fields, *SECTIONS]
    problems = [
        f"{name}: {moved(name) or f'unknown section.{nearest(name, known)}'}"
        for name in content
        if name not in known
    ]
    problems += [f"{name}: required, but not given." for name in REQUIRED if name not in content]
    values: dict[str, Any] = {}
    try:
        values["roots"] = bind_roots(content, RootParams)
    except ParamsError as error:
        problems.extend(str(error).splitlines())
        content = {name: value for name, value in content.items() if name in SECTIONS}
    for name, kind in SECTIONS.items():
        if name not in content:
            continue
        try:
            values[name] = bind_section(content, name, kind)
        except ParamsError as error:
            problems.extend(str(error).splitlines())
    return Bound(values, tuple(problems))


def read_params(root: Path) -> Mapping[str, Any]:
    """Read every section as its class; a ParamsError has all errors, one per line."""
    bound = bind_params(root)
    if bound.problems:
        raise ParamsError(problem_list(bound.problems))
    return bound.values


def problem_list(problems: tuple[str, ...] | list[str]) -> str:
    """One message with all problems."""
    return "\n".join([f"{PARAMS} cannot be used:", *(f"  {problem}" for problem in problems)])


def problems_of(check: Callable[..., object], *arguments: Any) -> list[str]:
    """Run a check; returns its error message, or nothing."""
    try:
        check(*arguments)
    except ValueError as error:
        return [str(error)]
    except OSError as error:  # an unreadable folder or file
        return [describe_os_error(error)]
    return []
