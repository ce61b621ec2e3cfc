"""Reading a space's YAML; every error is reported with line, key and rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from core.settings import explain
from models.space.spec import Place, SpaceError, SpaceSpec

PRESETS = Path(__file__).parents[1] / "spaces"


def read_spec(path: Path) -> SpaceSpec:
    """Read a space's YAML.

    Raises:
        SpaceError: the file is missing, not YAML, or invalid: then there is one line per error,
            such as `my-space.yaml, line 12, stages.1.operators.mbconv.kernel: 4 is not allowed;
            use one of 3, 5, 7.`
    """
    if not path.is_file():
        raise SpaceError(f"{path}: no such search space. Presets are in models/spaces/.")
    try:
        document = YAML(typ="rt", pure=True).load(path)
        content = _plain(document)
    # YAML errors, and those of unhashable keys, invalid dates and recursive anchors.
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        why = problem or " ".join(str(error).split())
        raise SpaceError(f"{path}{line}: not valid YAML: {why}.") from error
    if not isinstance(content, dict):
        raise SpaceError(f"{path}, line 1: a search space must be a mapping, not {content!r}.")
    try:
        return SpaceSpec.model_validate(content)
    except ValidationError as error:
        lines = sorted(
            (_line(document, detail["loc"]), explain(detail, "", SpaceSpec))
            for detail in error.errors()
        )
        raise SpaceError(
            "\n".join(f"{path}, line {line}, {text}" for line, text in lines)
        ) from error


def _line(document: Any, place: Place) -> int:
    """Line number of a place, from 1; for a missing key that of its parent."""
    node, line = document, 1
    for part in place:
        known = node.lc.data or {} if isinstance(node, CommentedMap | CommentedSeq) else {}
        if part in known:
            line = known[part][0] + 1
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            break
    return line


def _plain(node: Any) -> Any:
    """Convert a document to plain values, resolving anchors and merge keys."""
    if isinstance(node, Mapping):
        return {_plain(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):  # the loader returns subclasses of these
        if isinstance(node, kind):
            return kind(node)
    return node
