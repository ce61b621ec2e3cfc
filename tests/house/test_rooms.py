"""Imports run one way: between rooms, and between the floors of models and devices."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core", "data", "models", "devices", "bundles", "stages", "pipelines")
TWO_LEVELS = ("models", "devices")
# Each floor may import those before it; rooms of one floor do not import each other back.
FLOORS = {
    "models": [("quality",), ("space",), ("nets",), ("training", "predict", "search")],
    "devices": [("device",), ("runtimes",), ("measure", "quantize"), ("latency",), ("fleet",)],
}


def file_of(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def imported_files(file: Path) -> set[Path]:
    """Files of ours that a file imports anywhere, inside functions and for types too."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = file.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            # Of `from package import module` the module, of `from module import name` the module.
            names = [f"{module}.{alias.name}" for alias in node.names]
            modules += [name if file_of(name) else module for name in names]
    ours = {file_of(name) for name in modules if name.split(".")[0] in PACKAGES}
    return {found for found in ours if found is not None}


def room_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return "/".join(parts[:2]) if parts[0] in TWO_LEVELS else parts[0]


def python_files() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


IMPORTS = {file: imported_files(file) for file in python_files()}


def test_rooms_do_not_import_each_other_in_a_circle() -> None:
    rooms: dict[str, set[str]] = {}
    for file, found in IMPORTS.items():
        rooms.setdefault(room_of(file), set()).update(map(room_of, found))
    try:
        TopologicalSorter({room: found - {room} for room, found in rooms.items()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("package", FLOORS)
def test_imports_run_down_the_floors(package: str) -> None:
    floor = {
        f"{package}/{room}": number
        for number, rooms in enumerate(FLOORS[package])
        for room in rooms
    }
    upward = [
        f"{file.relative_to(ROOT)} imports {target.relative_to(ROOT)}"
        for file, found in IMPORTS.items()
        for target in found
        if floor.get(room_of(file), len(floor)) < floor.get(room_of(target), -1)
    ]
    assert upward == []


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(file) for file in IMPORTS if room_of(file).split("/")[0] in TWO_LEVELS}
    known = {
        f"{package}/{room}" for package, rows in FLOORS.items() for row in rows for room in row
    }
    assert {room for room in rooms if not room.endswith("__init__")} == known
