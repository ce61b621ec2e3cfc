"""Rules for files, params sections and pinned packages."""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined
from ruamel.yaml import YAML

from core.effort import LENGTHS
from core.settings import Roots, bind_section
from devices.device import Device
from pipelines.checks.params import SECTIONS
from pipelines.checks.roots import RootParams
from pipelines.settings import Setting, reference, walk

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipelines", "stages", "bundles", "devices", "models", "data", "core")
EVERY_SETTING = [
    *walk(RootParams, ""),
    *(s for name, kind in SECTIONS.items() if name != "devices" for s in walk(kind, name)),
]
UNIT = re.compile(
    r"\b([Ss]hares?|[Ff]ractions?|[Ii]mages?|[Pp]ixels|[Ss]teps?|epochs|[Pp]asses|[Ss]econds"
    r"|[Nn]etworks|[Aa]rchitectures|[Bb]locks|[Cc]alls|[Tt]hreads|[Pp]rocesses|[Bb]atch(es)?|seed"
    r"|[Pp]robability|[Pp]ercentile|accuracy|precisions?|[Dd]imensions|[Kk]eys|standard deviations"
    r"|[Tt]emperature|[Mm]omentum|decay|[Ll]earning rate|logits?|[Cc]andidates|[Rr]esamples"
    r"|[Ff]actor|[Ww]eight|error|members|chains?|[Oo]perators|groups|[Pp]arts|unit|size)\b"
)


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
    allowed, other = {".py", ".md", ".yaml"}, {"__pycache__", "inputs"}  # inputs: the user's files
    files = [f for f in (ROOT / package).rglob("*") if f.is_file() and not other & {*f.parts}]
    assert [str(f.relative_to(ROOT)) for f in files if f.suffix not in allowed] == []


def test_every_test_file_is_collected(pytestconfig: pytest.Config):
    patterns = pytestconfig.getini("norecursedirs")
    files = [f.relative_to(ROOT) for f in (ROOT / "tests").rglob("test_*.py")]
    hidden = [str(f) for f in files if any(fnmatch(part, p) for part in f.parts for p in patterns)]
    assert hidden == [], "pytest does not enter these folders"


def test_tests_have_no_package_markers():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_every_section_of_the_params_has_one_class_and_every_class_a_section():
    content = YAML(typ="safe").load(ROOT / "params.yaml")
    assert content.keys() == {*SECTIONS, *Roots.model_fields}


def test_the_params_file_shows_few_keys():
    content = YAML(typ="safe").load(ROOT / "params.yaml")
    del content["devices"]
    assert len(leaves(content)) <= 30


def leaves(content: dict[str, Any], where: str = "") -> dict[str, Any]:
    """The values of nested mappings, by dotted key."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= (
            leaves(value, f"{where}{key}.") if isinstance(value, dict) else {where + key: value}
        )
    return found


def test_every_setting_has_a_default_unless_dvc_reads_it_from_the_params():
    graph = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    read = {*re.findall(r"\$\{([a-z_]+\.[a-z_]+)\}", graph), "data.source", "data.size"}
    required = {s.key for s in EVERY_SETTING if s.default is PydanticUndefined}
    assert required == {"data.source", "data.path", "data.size", "space.file", "fleet.share"}
    assert required <= read


@pytest.mark.parametrize("setting", [*EVERY_SETTING, *walk(Device, "devices")], ids=lambda s: s.key)
def test_every_setting_has_a_description_with_a_unit(setting: Setting):
    assert setting.description
    if type(setting.default) in {int, float}:
        assert UNIT.search(setting.description), "say the unit, or that it is a share"


def test_every_length_by_effort_is_a_setting():
    known = {setting.key for setting in EVERY_SETTING}
    lengths = {effort: leaves(dict(sections)) for effort, sections in LENGTHS.items()}
    assert lengths["standard"].keys() == lengths["thorough"].keys() <= known


@pytest.mark.parametrize("effort", LENGTHS)
def test_every_effort_binds(effort: str):
    content = YAML(typ="safe").load(ROOT / "params.yaml") | {"effort": effort}
    for name, kind in SECTIONS.items():
        bind_section(content, name, kind)


def test_the_page_of_settings_is_current():
    written = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert written == reference(), "run: netwright params --markdown > docs/settings.md"


def test_every_package_is_pinned_to_one_version():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if pin.count("==") != 1 or "/" in pin or "@" in pin] == []
