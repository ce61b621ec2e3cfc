"""Rules for files, params sections and pinned packages."""

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from core.settings import Params
from pipelines.checks.params import SECTIONS

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipelines", "stages", "bundles", "devices", "models", "data", "core")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_python_file_names_an_artifact(package: str):
    guilty = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and "artifacts/" in node.value
    ]
    assert guilty == [], "only dvc.yaml has these paths, and passes them to a stage as flags"


@pytest.mark.parametrize("package", ["data", "models"])
def test_packages_hold_code_and_text_only(package: str):
    allowed = {".py", ".md", ".yaml"}
    files = [f for f in (ROOT / package).rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    assert [str(f.relative_to(ROOT)) for f in files if f.suffix not in allowed] == []


def test_tests_have_no_package_markers():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_every_section_of_the_params_has_one_class_and_every_class_a_section():
    content = YAML(typ="safe").load(ROOT / "params.yaml")
    assert content.keys() == SECTIONS.keys()


def test_every_field_of_a_section_is_in_the_params_file():
    content = YAML(typ="safe").load(ROOT / "params.yaml")
    hidden = {
        f"{name}.{field}"
        for name, kind in SECTIONS.items()
        if isinstance(kind, type) and issubclass(kind, Params)
        for field in kind.model_fields
        if field not in content[name]
    }
    assert hidden == set()


def test_every_params_field_has_a_description():
    missing = {
        f"{name}.{field}"
        for name, kind in SECTIONS.items()
        if isinstance(kind, type) and issubclass(kind, Params)
        for field, info in kind.model_fields.items()
        if not info.description
    }
    assert missing == set()


def test_every_package_is_pinned_to_one_version():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if pin.count("==") != 1 or "/" in pin or "@" in pin] == []
