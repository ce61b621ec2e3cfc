"""Reading `params.yaml`: sections are validated against classes, and all errors are listed."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

_CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
_POSITION = re.compile(r' in "<unicode string>", position (\d+)')
_LARGEST = {"seed": 2**32 - 1}
_LARGEST_OF_ALL = 2**53
"""The largest integer that all programs read exactly."""


class ParamsError(ValueError):
    """Invalid content of `params.yaml`; the message says what is wrong and what is allowed."""


class Params(BaseModel):
    """Base of every params section: immutable, strictly typed, without unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


T = TypeVar("T")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ParamsError: the file is missing, is not YAML, has content that other programs would read
            differently, or is not a mapping.
    """
    text = _text(path)
    if _CONFLICT.search(text):
        raise ParamsError(conflict_message(path))
    yaml = YAML(typ="safe", pure=True)
    try:
        content = yaml.load(text)
        names = [] if _all_strings(content) else _non_string_keys(yaml.compose(text))
    except RecursionError as error:
        raise ParamsError(f"{path} is nested too deeply, or an alias contains itself.") from error
    except (YAMLError, ValueError) as error:
        raise ParamsError(f"{path} is not valid YAML{_where(error)}: {_why(error)}.") from error
    if content is None:
        raise ParamsError(f"{path} is empty: restore it with `git checkout {path.name}`.")
    if not isinstance(content, dict):
        raise ParamsError(f"{path} must be a mapping of sections, not {type(content).__name__}.")
    if names:
        raise ParamsError("\n".join(f"{path}, {name}" for name in names))
    return content


def conflict_message(path: Path) -> str:
    """Error message for a file with git conflict markers."""
    lines = f"{path} contains git's conflict markers (<<<<<<<, =======, >>>>>>>)"
    if path.suffix == ".lock":
        return (
            f"{lines}: two branches have different results. Take one side, `git checkout --ours "
            f"{path.name}` or `git checkout --theirs {path.name}`, or delete it; then run "
            "`netwright run`, which restores earlier results from DVC's cache."
        )
    return (
        f"{lines}: resolve each in an editor, or take one side with `git checkout "
        f"--ours {path.name}` or `git checkout --theirs {path.name}`."
    )


def has_conflict(path: Path) -> bool:
    """Whether a file contains git conflict markers; False if it is missing."""
    if not path.is_file():
        return False
    return _CONFLICT.search(path.read_text(encoding="utf-8", errors="replace")) is not None


def _text(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        raise ParamsError(f"{path} is a broken link: {path.readlink()} does not exist.")
    if path.is_dir():
        raise ParamsError(f"{path} is a folder, but a file is needed.")
    if not path.exists():
        raise ParamsError(f"{path}: no such file. Run from the repository's root.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        code = "utf-16" if error.object[:2] in {b"\xff\xfe", b"\xfe\xff"} else "latin1"
        byte = error.object[error.start]
        raise ParamsError(
            f"{path} is not UTF-8 (byte {error.start + 1} is {byte:#04x}): save it as UTF-8, for "
            f"example with `iconv -f {code} -t utf-8`."
        ) from error


def _all_strings(value: Any) -> bool:
    """Whether all keys of nested mappings are strings."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _all_strings(item) for key, item in value.items())
    return all(map(_all_strings, value)) if isinstance(value, list) else True


def _non_string_keys(node: Any) -> list[str]:
    """Errors for mapping keys that YAML reads as a number, a boolean, a date or null."""
    found: list[str] = []
    pending, seen = [("", node)], set()
    while pending:
        where, node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, SequenceNode):
            pending += [(where, item) for item in node.value]
        elif isinstance(node, MappingNode):
            for key, value in node.value:
                name = key.value if isinstance(key, ScalarNode) else "a list or mapping"
                if key.tag.split(":")[-1] not in {"str", "merge"}:
                    found.append(
                        f"line {key.start_mark.line + 1}: {where}{name} is not a string in YAML "
                        f'({key.tag.split(":")[-1]}). Put the name in quotes: "{name}".'
                    )
                pending.append((f"{where}{name}.", value))
    return found


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f" in line {mark.line + 1}"


def _why(error: Exception) -> str:
    """The YAML library's reason in one line, without its advice to programmers."""
    if isinstance(error, DuplicateKeyError):
        return f"{str(error.problem).splitlines()[0]}: remove one of them"
    reason = getattr(error, "problem", None) or str(error)
    if "'\\t'" in reason:
        return "indentation contains a tab: indent with spaces"
    if "4300 digits" in reason:
        return "a number is too long"
    return _POSITION.sub(r" (character \1)", " ".join(reason.split()))


def read_section(path: Path, section: str, kind: type[T]) -> T:
    """Read one section of a params file as `kind`, a params class or a mapping of them.

    Raises:
        ParamsError: the section is missing, or has an unknown key, a wrong type or an invalid
            value.
    """
    content = read_yaml(path)
    if section not in content:
        raise ParamsError(f"{path} has no section '{section}'." + nearest(section, content))
    return bind(content[section], section, kind)


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
    quotes = " Put it in quotes." if detail["type"] == "string_type" else ""
    return f"{key}: {message} (got {_short(detail['input'])}).{quotes}"


def _excessive(value: Any, where: str) -> typing.Iterator[str]:
    """Errors for integers too large for the libraries that read them."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _excessive(item, f"{where}.{key}")
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
