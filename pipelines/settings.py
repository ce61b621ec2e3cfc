"""Every setting with its value, default and description, as a table and as `docs/settings.md`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from core.effort import LENGTHS, PRETRAINED, PRETRAINED_LENGTHS
from core.errors import nearest
from core.settings import OneOf, ParamsError, is_root_key
from pipelines.checks.params import SECTIONS
from pipelines.checks.roots import RootParams
from pipelines.tables import print_table

ROOTS, DEVICES = "roots", "devices"
_NONE = object()


@dataclass(frozen=True)
class Setting:
    """One setting, by its dotted key in `params.yaml`."""

    key: str
    value: Any
    """`_NONE` in the reference."""
    default: Any
    """`PydanticUndefined` if it is required."""
    description: str

    @property
    def changed(self) -> bool:
        """Whether the value is not the default."""
        return bool(self.value != self.default)


def walk(
    kind: type[BaseModel], where: str, value: Any = _NONE, default: Any = None
) -> Iterator[Setting]:
    """The settings of a class, those of nested classes included.

    Args:
        kind: the class.
        where: key of the section; empty for root keys.
        value: an instance; without it, the settings have no values, and a field with one of several
            classes has the settings of each.
        default: an instance with the defaults, where they are not those of the class.
    """
    for name, field in kind.model_fields.items():
        if is_root_key(name, kind):
            continue
        key = f"{where}.{name}" if where else name
        here = _NONE if value is _NONE else getattr(value, name)
        own = field.get_default(call_default_factory=True)
        without = getattr(default, name) if isinstance(default, BaseModel) else own
        nested = [k for k in _kinds(field.annotation) if issubclass(k, BaseModel)]
        description = " ".join((field.description or "").split())
        if (table := OneOf.of(field)) is not None:
            yield Setting(key, getattr(here, "name", _NONE), field.default.name, description)
            chosen = (
                [(type(here), key, here)]
                if here is not _NONE
                else [(one, f"{key} ({name})", _NONE) for name, one in table.by_name.items()]
            )
            for one, place, found in chosen:
                yield from (s for s in walk(one, place, found) if s.key != f"{place}.name")
        elif nested and here is not None:
            yield from walk(nested[0], key, here, without)
        else:
            yield Setting(key, here, without, description)


def _kinds(annotation: Any) -> list[type]:
    return [k for k in (get_args(annotation) or (annotation,)) if isinstance(k, type)]


def settings_of(values: Mapping[str, Any], section: str | None) -> list[Setting]:
    """The settings of a section or root key, or of all, with their values.

    Raises ParamsError if there is no such section.
    """
    known = [*RootParams.model_fields, *SECTIONS]
    if section is not None and section not in known:
        raise ParamsError(f"no section '{section}'.{nearest(section, known)}")
    found = list(walk(RootParams, "", values[ROOTS]))
    for name in SECTIONS:
        parts = values[name] if name == DEVICES else {"": values[name]}
        for part, value in parts.items():
            found += walk(type(value), f"{name}.{part}" if part else name, value)
    return [s for s in found if section is None or s.key.split(".")[0] == section]


def print_settings(console: Console, settings: list[Setting]) -> None:
    """Print a table on a terminal, otherwise one line per setting."""
    if not console.is_terminal:
        for setting in settings:
            default = shown(setting.default)
            print(f"{setting.key} = {shown(setting.value)}  # {default}: {setting.description}")
        return
    headings = ("setting", "value", "default", "description")
    table = Table(*(Column(heading, overflow="fold") for heading in headings))
    for setting in settings:
        style = "bold" if setting.changed else None
        texts = (setting.key, shown(setting.value), shown(setting.default), setting.description)
        table.add_row(*map(escape, texts), style=style)
    print_table(console, table)


def shown(value: Any) -> str:
    """A value as in YAML; `required` for a missing default."""
    if value is PydanticUndefined:
        return "required"
    return json.dumps(value)


def reference() -> str:
    """The content of `docs/settings.md`."""
    lines = [
        "# Settings",
        "",
        "Every key of `params.yaml`, generated from the code by `netwright params --markdown`.",
        "`params.yaml` holds only what differs from these defaults.",
    ]
    lines += _section("Root keys", "", RootParams)
    for name, kind in SECTIONS.items():
        if name == DEVICES:
            kind, name = get_args(kind)[1], f"{name}.NAME"
        lines += _section(f"`{name}`", name, kind)
    lines += [
        "",
        "## Lengths by `effort`",
        "",
        "| setting | standard | thorough |",
        "|---|---|---|",
    ]
    standard, thorough = (dict(_leaves(LENGTHS[e])) for e in ("standard", "thorough"))
    lines += [f"| `{key}` | {standard[key]:g} | {thorough[key]:g} |" for key in standard]
    lines += [
        "",
        "## With pretrained weights",
        "",
        "Defaults where `supernet.start_from` is not `none`, by `effort` (`demo`, `standard`, "
        "`thorough`) where it matters.",
        "",
        "| setting | default |",
        "|---|---|",
    ]
    lines += [f"| `{key}` | `{shown(value)}` |" for key, value in _leaves(PRETRAINED)]
    by_effort = [dict(_leaves(lengths)) for lengths in PRETRAINED_LENGTHS.values()]
    lines += [
        f"| `{key}` | {', '.join(f'{one[key]:g}' for one in by_effort)} |" for key in by_effort[0]
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, where: str, kind: type[BaseModel]) -> list[str]:
    lines = ["", f"## {title}", "", " ".join((kind.__doc__ or "").split()), ""]
    lines += ["| setting | default | meaning |", "|---|---|---|"]
    for setting in walk(kind, where):
        default = shown(setting.default)
        default = default if default == "required" else f"`{default}`"
        lines.append(f"| `{setting.key}` | {default} | {setting.description} |")
    return lines


def _leaves(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{where}{name}.")
        else:
            yield f"{where}{name}", value
