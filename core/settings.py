"""Settings: the sections of `params.yaml` as classes, and errors that list every problem.

Defaults stand in the classes alone; `params.yaml` holds differences. Three root keys hold for all
stages: `seed`, from which every section's generators are split by the section's name; `threads`;
and `effort`, which selects the lengths of `core.effort`.
"""

from __future__ import annotations

import hashlib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.effort import LENGTHS, Effort
from core.errors import closest
from core.yaml_file import ParamsError as ParamsError
from core.yaml_file import read_yaml

_LARGEST = {"seed": 2**32 - 1}
_LARGEST_OF_ALL = 2**53
"""The largest integer that all programs read exactly."""


class Params(BaseModel):
    """Base of every params section: immutable, strictly typed, without unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Roots(Params):
    """The keys of `params.yaml` that hold for all stages."""

    seed: int = Field(0, ge=0)
    """Random seed; every stage's generators are split from it by the stage's name."""
    threads: int = Field(1, ge=1)
    """CPU threads of every training process; results depend on it, as floating-point sums do."""
    effort: Effort = "demo"
    """How long stages train, search and measure: demo, standard or thorough. A length given in
    params.yaml has precedence."""


class Seeded(Params):
    """A section that draws random numbers."""

    seed: int = Field(0, ge=0)
    """Split from the root key `seed` by the section's name."""


class Threaded(Seeded):
    """A section whose results also depend on the number of threads."""

    threads: int = Field(1, ge=1)
    """The root key `threads`."""


T = TypeVar("T")
S = TypeVar("S", bound=Params)


def derive_seed(root: int, name: str) -> int:
    """Split a seed by name: a stable 32-bit hash, so that no two sections share random streams."""
    return int.from_bytes(hashlib.sha256(f"{root}:{name}".encode()).digest()[:4], "big")


def read_section(path: Path, section: str, kind: type[T]) -> T:
    """Read one section of a params file as `kind`, a params class or a mapping of them.

    Raises:
        ParamsError: the section is missing, or has an unknown key, a wrong type or an invalid
            value.
    """
    content = read_yaml(path)
    if section not in content:
        raise ParamsError(f"{path} has no section '{section}'." + nearest(section, content))
    return bind_section(content, section, kind)


def bind_section(content: Mapping[str, Any], section: str, kind: type[T]) -> T:
    """Validate a section of a params file's content, with its lengths, seed and threads.

    Raises:
        ParamsError: see `read_section`; also for an invalid root key.
    """
    roots = read_roots(content)
    given = content.get(section)
    if misplaced := list(_misplaced(given, section, kind)):
        raise ParamsError("\n".join(misplaced))
    lengths = LENGTHS[roots.effort].get(section, {})
    if lengths and (given is None or isinstance(given, Mapping)):
        given = merge(lengths, {} if given is None else given)
    settings = bind(given, section, kind)
    return fill_in_roots(settings, section, roots) if isinstance(settings, Params) else settings


def read_roots(content: Mapping[str, Any]) -> Roots:
    """The root keys of a params file's content.

    Raises:
        ParamsError: one has an invalid value.
    """
    return bind({name: content[name] for name in Roots.model_fields if name in content}, "", Roots)


def fill_in_roots(settings: S, where: str, roots: Roots) -> S:
    """`settings`, and those within, with the seed of their name and the root's threads."""
    changes: dict[str, Any] = {}
    if isinstance(settings, Seeded):
        changes["seed"] = derive_seed(roots.seed, where)
    if isinstance(settings, Threaded):
        changes["threads"] = roots.threads
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Params):
            changes[name] = fill_in_roots(value, f"{where}.{name}", roots)
    return settings.model_copy(update=changes)


def is_root_key(name: str, kind: type[BaseModel]) -> bool:
    """Whether a field of a section is filled in from the root key of its name."""
    filled = {"seed": Seeded, "threads": Threaded}
    return name in filled and issubclass(kind, filled[name])


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with nested changes."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def bind(value: Any, where: str, kind: type[T]) -> T:
    """Validate plain YAML values as `kind`, reporting every error with its full key.

    Args:
        value: the YAML content.
        where: the key of the value, such as `search` or `devices`.
        kind: a params class, or a type such as `dict[str, Device]`.

    Raises:
        ParamsError: at least one key or value is not allowed; all errors are listed.
    """
    if excessive := list(_excessive(value, where)):
        raise ParamsError("\n".join(excessive))
    try:
        return TypeAdapter(kind).validate_python(value if value is not None else {})
    except ValidationError as error:
        lines = [explain(detail, where, kind) for detail in error.errors()]
        raise ParamsError("\n".join(lines)) from error


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """A hint for a mistyped name: ` Did you mean 'x'? Known: ...`, closest first."""
    names = sorted(known)
    hint = closest(name, names)
    return f"{hint} Known: {', '.join(names)}." if names else hint


def explain(detail: Mapping[str, Any], where: str, kind: Any) -> str:
    """Pydantic's error of a value of type `kind` at the key `where`, in one sentence."""
    location = [str(part) for part in detail["loc"]]
    key = ".".join([where, *location] if where else location)
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key.{nearest(location[-1], _keys_beside(location, kind))}"
    if detail["type"] == "missing":
        return f"{key}: required, but not given."
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    quotes = " Put it in quotes." if detail["type"] == "string_type" else ""
    return f"{key}: {message} (got {_short(detail['input'])}).{quotes}"


def _misplaced(value: Any, where: str, kind: Any) -> typing.Iterator[str]:
    """Errors for root keys within a section."""
    if not isinstance(value, Mapping) or not isinstance(kind, type):
        return
    if not issubclass(kind, Params):
        return
    for key, item in value.items():
        field = kind.model_fields.get(key)
        if is_root_key(key, kind):
            yield f"{where}.{key}: not a key of a section: use the root key {key}, for all stages."
        elif field is not None:
            yield from _misplaced(item, f"{where}.{key}", field.annotation)


def _excessive(value: Any, where: str) -> typing.Iterator[str]:
    """Errors for integers too large for the libraries that read them."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _excessive(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _excessive(item, f"{where}.{number}")
    elif isinstance(value, int):
        most = _LARGEST.get(where.rpartition(".")[2], _LARGEST_OF_ALL)
        if abs(value) > most:
            yield f"{where}: must be at most {most} (got {_short(value)})."


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _keys_beside(location: list[str], kind: Any) -> list[str]:
    """The field names allowed at the last part of `location`."""
    for part in location[:-1]:
        kind = _step(kind, part)
    for option in _alternatives(kind):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return [name for name in option.model_fields if not is_root_key(name, option)]
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
