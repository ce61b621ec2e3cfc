"""Reading `params.yaml`: every section binds to exactly one class, and every mistake is named."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


class ParamsError(ValueError):
    """Something in `params.yaml` that cannot be used; the message says what and what is allowed."""


class Params(BaseModel):
    """Base of every params section: immutable, strict about types, and closed to unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


T = TypeVar("T")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ParamsError: the file is missing, is not YAML, or is not a mapping at its top.
    """
    if not path.is_file():
        raise ParamsError(f"{path}: no such file. Run from the repository's root.")
    try:
        content = YAML(typ="safe", pure=True).load(path)
    except YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML:\n{error}") from error
    if not isinstance(content, dict):
        raise ParamsError(f"{path} must be a mapping of sections, not {type(content).__name__}.")
    return content


def read_section(path: Path, section: str, kind: type[T]) -> T:
    """Read one section of a params file as `kind`, a params class or a mapping of them.

    Raises:
        ParamsError: the section is missing, or holds an unknown key, a wrong type or an
            impossible value.
    """
    content = read_yaml(path)
    if section not in content:
        raise ParamsError(f"{path} has no section '{section}'." + nearest(section, content))
    return bind(content[section], section, kind)


def bind(value: Any, where: str, kind: type[T]) -> T:
    """Turn plain YAML values into `kind`, naming every mistake by its full key.

    Args:
        value: what the YAML held.
        where: the key the value stood under, such as `search` or `devices`.
        kind: a params class, or a type such as `dict[str, Device]`.

    Raises:
        ParamsError: at least one key or value is not allowed; all of them are listed.
    """
    try:
        return TypeAdapter(kind).validate_python(value if value is not None else {})
    except ValidationError as error:
        lines = [_explain(detail, where, kind) for detail in error.errors()]
        raise ParamsError("\n".join(lines)) from error


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """A hint for a mistyped name: ` Did you mean 'x'? Known: ...`, closest first."""
    names = sorted(known)
    match = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean '{match[0]}'?" if match else ""
    return f"{hint} Known: {', '.join(names)}." if names else hint


def _explain(detail: Mapping[str, Any], where: str, kind: Any) -> str:
    location = [str(part) for part in detail["loc"]]
    key = ".".join([where, *location])
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key.{nearest(location[-1], _keys_beside(location, kind))}"
    if detail["type"] == "missing":
        return f"{key}: required, but not given."
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{key}: {message} (got {_short(detail['input'])})."


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _keys_beside(location: list[str], kind: Any) -> list[str]:
    """The field names allowed where the last part of `location` stands."""
    for part in location[:-1]:
        kind = _step(kind, part)
    for option in _alternatives(kind):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return list(option.model_fields)
    return []


def _step(kind: Any, part: str) -> Any:
    for option in _alternatives(kind):
        if isinstance(option, type) and issubclass(option, BaseModel):
            field = option.model_fields.get(part)
            return field.annotation if field is not None else None
        arguments = typing.get_args(option)
        if arguments:
            return arguments[-1]
    return None


def _alternatives(kind: Any) -> tuple[Any, ...]:
    origin = typing.get_origin(kind)
    if origin is typing.Union or origin is types.UnionType:
        return typing.get_args(kind)
    return (kind,)
