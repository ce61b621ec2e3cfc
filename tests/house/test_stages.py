"""The declarations in dvc.yaml match what the stages read, import and write."""

import ast
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from core.command import fill_in
from core.effort import LENGTHS
from core.settings import Roots, Seeded, Threaded
from core.stage import Stage as StageFunction
from pipelines.checks.params import SECTIONS
from pipelines.graph import Stage, read_graph

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipelines", "stages", "bundles", "devices", "models", "data", "core")
GRAPH = read_graph(ROOT)
ONE_OF_EACH = list({stage.kind: stage for stage in GRAPH}.values())

each_stage = pytest.mark.parametrize("stage", ONE_OF_EACH, ids=lambda stage: stage.kind)


def paths_in(stage: Stage) -> set[str]:
    """The paths in a stage's command, with placeholders replaced by params values."""
    words = fill_in(shlex.split(stage.command, comments=True), stage.name)
    words = [word.partition("=")[2] or word for word in words]
    return {word for word in words if "/" in word or word.endswith((".yaml", ".txt"))}


@each_stage
def test_every_path_in_the_command_is_declared(stage: Stage):
    declared = {*stage.deps, *stage.outs, "params.yaml"}
    assert paths_in(stage) <= declared


@each_stage
def test_every_declared_artifact_is_handed_to_the_command(stage: Stage):
    code = {"constraints.txt", *(dep for dep in stage.deps if dep.split("/")[0] in PACKAGES)}
    spaces = {dep for dep in code if dep.endswith(".yaml")}
    assert set(stage.deps) - code | spaces | set(stage.outs) <= paths_in(stage)


@each_stage
def test_every_stage_is_the_module_of_its_name(stage: Stage):
    assert shlex.split(stage.command)[:4] == ["python", "-m", "stages", stage.kind]
    assert {"stages/__main__.py", f"stages/{stage.kind}.py"} <= set(stage.deps)


@each_stage
def test_declared_code_covers_what_the_stage_imports(stage: Stage):
    used = imported_files(f"stages.{stage.kind}")
    missing = [file for file in sorted(used) if not any(covers(dep, file) for dep in stage.deps)]
    assert not missing, f"{stage.name} imports files that are not declared dependencies"


@each_stage
def test_no_package_is_declared_that_the_stage_does_not_import(stage: Stage):
    used = imported_files(f"stages.{stage.kind}")
    folders = [dep for dep in stage.deps if dep.split("/")[0] in PACKAGES and (ROOT / dep).is_dir()]
    assert [folder for folder in folders if not any(covers(folder, file) for file in used)] == []


@each_stage
def test_declared_params_are_the_keys_that_the_stage_reads(stage: Stage):
    declared = {key.split(".")[0] for key in stage.params}
    function = getattr(import_module(f"stages.{stage.kind}"), stage.kind)
    sections = set(StageFunction(function).sections)
    assert declared - {*Roots.model_fields} == sections
    if stage.kind != "fetch":  # a download does not depend on the splits
        roots = {key for name in sections for key in roots_read(name)}
        assert declared & {*Roots.model_fields} == roots


def roots_read(section: str) -> set[str]:
    """The root keys on which a section's settings depend."""
    kind = SECTIONS[section]
    classes = (kind, *(f.annotation for f in getattr(kind, "model_fields", {}).values()))
    kinds = [k for k in classes if isinstance(k, type)]
    found = {"seed"} if any(issubclass(k, Seeded) for k in kinds) else set()
    found |= {"threads"} if any(issubclass(k, Threaded) for k in kinds) else set()
    return found | ({"effort"} if section in LENGTHS["standard"] else set())


def test_no_param_escapes_the_run_cache_of_dvc():
    # DVC leaves keys of these names out of the run cache's key, at any level.
    overlooked = {"size", "nfiles"}
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    guilty = [key for name, section in params.items() for key in keys_below(name, section)]
    guilty = [key for key in guilty if key.split(".")[-1] in overlooked]
    assert guilty == ["data.size"]
    # Declared separately its name is `data.size`, which DVC does not leave out.
    assert "data.size" in GRAPH["prepare"].params


def test_no_command_holds_a_text_of_the_params():
    raw = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    commands = {name: stage.get("do", stage)["cmd"] for name, stage in raw.items()}
    assert [name for name, command in commands.items() if "$" in command] == []


def keys_below(where: str, value: object) -> list[str]:
    """All keys of nested mappings, dotted."""
    if not isinstance(value, dict):
        return [where]
    return [key for name, item in value.items() for key in keys_below(f"{where}.{name}", item)]


def covers(dep: str, file: str) -> bool:
    """Whether a declared dependency contains a file; `stages/__init__.py` sets one variable."""
    return file == dep or file.startswith(f"{dep}/") or file == "stages/__init__.py"


def is_marker(file: str) -> bool:
    """Whether a file is a package marker with nothing but a docstring."""
    return file.endswith("__init__.py") and len(ast.parse((ROOT / file).read_text()).body) <= 1


@cache
def imported_files(module: str) -> frozenset[str]:
    """This repository's files that a module imports, found by parsing the source."""
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        file = file_of(name)
        if file is None or file in found:
            continue
        if not is_marker(file):
            found.add(file)
        pending.extend(name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1))
        pending.extend(imports_of(file))
    return frozenset(found)


def file_of(module: str) -> str | None:
    """The file of a module of this repository."""
    if module.split(".")[0] not in PACKAGES:
        return None
    path = module.replace(".", "/")
    for candidate in (f"{path}.py", f"{path}/__init__.py"):
        if (ROOT / candidate).is_file():
            return candidate
    return None


def imports_of(file: str) -> list[str]:
    """The modules in a file's import statements, at any level."""
    names: list[str] = []
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = file.split("/")[: -node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names.append(module)
            names.extend(f"{module}.{alias.name}" for alias in node.names)
    return names
