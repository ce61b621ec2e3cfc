"""Reading a YAML mapping strictly: UTF-8, no duplicate or non-string keys, no git conflicts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

_CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
_POSITION = re.compile(r' in "<unicode string>", position (\d+)')


class ParamsError(ValueError):
    """Invalid content of `params.yaml`; the message says what is wrong and what is allowed."""


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
    sides = f"`git checkout --ours {path.name}` or `git checkout --theirs {path.name}`"
    if path.suffix == ".lock":
        return (
            f"{lines}: two branches have different results. Take one side, {sides}, or delete it; "
            "then run `netwright run`, which restores earlier results from DVC's cache."
        )
    return f"{lines}: resolve each in an editor, or take one side with {sides}."


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
