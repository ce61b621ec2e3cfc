"""Settings: the sections of `params.yaml` as classes, and errors that list every problem.

Defaults stand in the classes alone; `params.yaml` holds differences. Three root keys hold for all
stages: `seed`, from which every section's generators are split by the section's name; `threads`;
and `effort`, which selects the lengths of `core.effort`.
"""

from __future__ import annotations

import hashlib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from core.effort import Effort, defaults
from core.errors import nearest
from core.moved import moved
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

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """A partly given nested section keeps the other keys of its field's default."""
        if not isinstance(given, Mapping):
            return given
        defaults = {
            name: field.default.model_dump(exclude_unset=True)
            for name, field in cls.model_fields.items()
            if isinstance(field.default, Params) and type(field.default) is field.annotation
        }
        return merge({name: defaults[name] for name in defaults.keys() & given.keys()}, given)


class Roots(Params):
    """The keys of `params.yaml` that hold for all stages."""

    seed: int = Field(0, ge=0)
    """Random seed; every stage's generators are split from it by the stage's name."""
    threads: int = Field(1, ge=1)
    """CPU threads of every training process; results depend on it, as floating-point sums do."""
    effort: Effort = "demo"
    """How long stages train, search and measure: demo, standard or thorough. A length given in
    params.yaml has precedence."""


_SECTION = "section"
"""The context of validating a section of a params file."""


def _refuse_root_key(value: Any, info: ValidationInfo) -> Any:
    if info.context == _SECTION:
        raise ValueError(f"not a key of a section: use the root key {info.field_name}")
    return value


class Seeded(Params):
    """A section that draws random numbers."""

    seed: int = Field(0, ge=0)
    """Split from the root key `seed` by the section's name."""

    _root_seed = field_validator("seed", mode="before")(_refuse_root_key)


class Threaded(Seeded):
    """A section whose results also depend on the number of threads."""

    threads: int = Field(1, ge=1)
    """The root key `threads`."""

    _root_threads = field_validator("threads", mode="before")(_refuse_root_key)


class Named(Params):
    """Settings of one entry of a table; each class has its own `name: Literal["x"] = "x"`."""

    name: str
    """Name in the table."""

    @classmethod
    def entry(cls) -> str:
        """The name of this class's entry."""
        return str(cls.model_fields["name"].default)


@dataclass(frozen=True)
class OneOf:
    """Annotation of a field with one of several classes: `NAME` or `{name: NAME, KEY: VALUE}`.

    `algorithm: Annotated[Named, OneOf("algorithm", (Fast, Slow))] = Fast()`

    Attributes:
        what: the word for an entry of the table.
        kinds: the class of every entry.
    """

    what: str
    kinds: Sequence[type[Named]]

    @cached_property
    def by_name(self) -> dict[str, type[Named]]:
        """The classes by name."""
        return {kind.entry(): kind for kind in self.kinds}

    @classmethod
    def of(cls, field: FieldInfo) -> OneOf | None:
        """The annotation of a field; None for other fields."""
        return next((found for found in field.metadata if isinstance(found, OneOf)), None)

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(kind) for name, kind in self.by_name.items()}
        union = core_schema.tagged_union_schema(choices, "name")
        return core_schema.no_info_before_validator_function(self._with_known_name, union)

    def _with_known_name(self, given: Any) -> Any:
        name = given.get("name") if isinstance(given, Mapping) else getattr(given, "name", given)
        if isinstance(name, str) and name in self.by_name:
            return {"name": name} if given is name else given
        what = (
            f"needs the name of its {self.what}"
            if name is None
            else f"unknown {self.what} {name!r}"
        )
        text = f"{what}.{nearest(str(name), self.by_name)}"
        raise PydanticCustomError(SENTENCE, "{text}", {"text": text})


SENTENCE = "sentence"
"""Type of an error whose message is a whole sentence."""


T = TypeVar("T")
S = TypeVar("S", bound=Params)
R = TypeVar("R", bound=Roots)


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
    roots = bind_roots(content, Roots)
    given = content.get(section)
    own = defaults(content, roots.effort, section)
    if own and (given is None or isinstance(given, Mapping)):
        given = merge(own, {} if given is None else given)
    settings = bind(given, section, kind, _SECTION)
    return fill_in_roots(settings, section, roots) if isinstance(settings, Params) else settings


def bind_roots(content: Mapping[str, Any], kind: type[R]) -> R:
    """The root keys of a params file's content, as `kind`.

    Raises:
        ParamsError: one has an invalid value.
    """
    return bind({name: content[name] for name in kind.model_fields if name in content}, "", kind)


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


def bind(value: Any, where: str, kind: type[T], context: str | None = None) -> T:
    """Validate plain YAML values as `kind`, reporting every error with its full key.

    Args:
        value: the YAML content.
        where: its key, such as `search` or `devices`.
        kind: a params class, or a type such as `dict[str, Device]`.
        context: pydantic's context of the validators.

    Raises:
        ParamsError: at least one key or value is not allowed; all errors are listed.
    """
    if excessive := list(_excessive(value, where)):
        raise ParamsError("\n".join(excessive))
    try:
        given = value if value is not None else {}
        return TypeAdapter(kind).validate_python(given, context=context)
    except ValidationError as error:
        lines = [explain(detail, where, kind) for detail in error.errors()]
        raise ParamsError("\n".join(lines)) from error


def explain(detail: Mapping[str, Any], where: str, kind: Any) -> str:
    """Pydantic's error of a value of type `kind` at the key `where`, in one sentence."""
    location, beside = _locate([str(part) for part in detail["loc"]], kind)
    key = ".".join([where, *location] if where else location)
    if detail["type"] == "extra_forbidden":
        hint = nearest(location[-1], _keys(beside))
        return f"{key}: {moved(key) or f'unknown key.{hint}'}"
    if detail["type"] == "missing":
        return f"{key}: required, but not given."
    if detail["type"] == SENTENCE:
        return f"{key}: {detail['msg']}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    quotes = " Put it in quotes." if detail["type"] == "string_type" else ""
    return f"{key}: {message} (got {_short(detail['input'])}).{quotes}"


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


def _locate(location: list[str], kind: Any) -> tuple[list[str], Any]:
    """The key at an error's location, which also has names of entries, and what contains it."""
    key, inside = list[str](), None
    for part in location:
        if isinstance(kind, OneOf):
            kind = kind.by_name[part]
        else:
            key.append(part)
            inside, kind = kind, _step(kind, part)
    return key, inside


def _keys(kind: Any) -> list[str]:
    """The keys that a type allows."""
    model = _model(kind)
    return [] if model is None else [n for n in model.model_fields if not is_root_key(n, model)]


def _step(kind: Any, part: str) -> Any:
    """The type of one part of a value of type `kind`."""
    if (model := _model(kind)) is None:
        return next(reversed(typing.get_args(kind)), None)
    field = model.model_fields.get(part)
    return None if field is None else OneOf.of(field) or field.annotation


def _model(kind: Any) -> type[BaseModel] | None:
    """The class of settings that a type is, or has as an alternative."""
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    for option in typing.get_args(kind) if union else (kind,):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None
