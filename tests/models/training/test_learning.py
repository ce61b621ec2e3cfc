"""Lengths of trainings: epochs, and the fewest steps."""

from typing import Any

import pytest

from core.settings import bind_section
from devices.quantize.settings import QuantizeParams
from models.training.learning import LearningParams
from models.training.settings import TrainParams
from models.training.supernet.settings import SupernetParams
from models.training.teachers.settings import TeacherParams

FASHION_MNIST = 54_000 // 64
"""Its steps per epoch."""
SECTIONS: dict[str, type[LearningParams]] = {
    "supernet": SupernetParams,
    "teacher": TeacherParams,
    "train": TrainParams,
}


def of_section(name: str, effort: str = "demo", **changes: Any) -> LearningParams:
    return bind_section({"effort": effort, name: changes}, name, SECTIONS[name])


def finetune(effort: str) -> LearningParams:
    content = {"effort": effort, "quantize": {}}
    return bind_section(content, "quantize", QuantizeParams).finetune


@pytest.mark.parametrize("effort", ["demo", "standard", "thorough"])
def test_a_small_data_set_gets_the_fewest_steps_and_a_large_one_its_epochs(effort: str):
    for params in [*(of_section(name, effort) for name in SECTIONS), finetune(effort)]:
        small, large = params.recipe(3), params.recipe(FASHION_MNIST)
        assert small.steps == params.min_steps >= 100
        assert small.epochs == pytest.approx(small.steps / 3)
        assert large.steps == round(params.epochs * FASHION_MNIST) > params.min_steps
        assert large.epochs == pytest.approx(params.epochs, rel=0.01)


@pytest.mark.parametrize("section", SECTIONS)
def test_more_effort_means_more_steps_for_small_data_too(section: str):
    steps = [of_section(section, e).recipe(3).steps for e in ("demo", "standard", "thorough")]
    assert steps == sorted(set(steps))


def test_the_fewest_steps_can_be_given():
    assert of_section("train", min_steps=7, epochs=0.1).recipe(3).steps == 7
    assert of_section("train", min_steps=1, epochs=0.1).recipe(3).steps == 1
