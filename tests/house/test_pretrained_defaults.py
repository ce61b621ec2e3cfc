"""The defaults of a supernet that starts from given weights."""

from typing import Any

import pytest
from ruamel.yaml import YAML

from core.effort import LENGTHS, PRETRAINED, PRETRAINED_LENGTHS
from core.settings import bind_section
from pipelines.checks.params import SECTIONS
from tests.support import ROOT

PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
START = {"start_from": "efficientnet_lite0"}


def bound(section: str, **changes: Any) -> Any:
    return bind_section(PARAMS | changes, section, SECTIONS[section])


@pytest.mark.parametrize("start", [START, {"start_from": {"name": "supernet"}}])
@pytest.mark.parametrize("effort", LENGTHS)
def test_given_weights_change_the_defaults_of_every_training(start: dict, effort: str):
    for section, recipe in PRETRAINED.items():
        own = PARAMS[section] or {}
        changes = {"supernet": PARAMS["supernet"] | start, "effort": effort}
        settings = bound(section, **changes | ({} if section == "supernet" else {section: own}))
        expected = recipe | PRETRAINED_LENGTHS[effort][section]
        plain = {key: value for key, value in expected.items() if key != "strategy"}
        assert {key: getattr(settings, key) for key in plain} == plain
        if section == "supernet":
            assert settings.strategy.name == "sandwich"


@pytest.mark.parametrize("start", [{}, {"start_from": "none"}, {"start_from": {"name": "none"}}])
def test_random_weights_keep_the_defaults_of_the_classes(start: dict):
    settings = bound("supernet", supernet=start)
    assert settings == bound("supernet", supernet={})
    assert (settings.optimizer, settings.strategy.name) == ("sgd", "spos")
    assert bound("train", supernet=start).optimizer == "sgd"


def test_what_is_given_has_precedence():
    supernet = bound("supernet", supernet=START | {"min_steps": 7, "strategy": "fair"})
    assert (supernet.min_steps, supernet.strategy.name, supernet.optimizer) == (7, "fair", "adamw")


def test_every_default_is_a_setting_of_its_section():
    for table in (PRETRAINED, *PRETRAINED_LENGTHS.values()):
        for section, keys in table.items():
            assert keys.keys() <= SECTIONS[section].model_fields.keys()
