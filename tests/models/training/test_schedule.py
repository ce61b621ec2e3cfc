import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.presets import random_images
from core.settings import ParamsError, bind
from models.training.learning import Images, NetworkParams
from models.training.schedule import Resizing, Schedule
from models.training.settings import TrainParams

NAMES = ("cosine", "linear", "trapezoid")


@pytest.mark.parametrize("name", NAMES)
def test_every_schedule_rises_to_its_peak_and_ends_near_zero(name):
    schedule = Schedule(name, warmup_fraction=0.1, cooldown_fraction=0.25)
    rates = [schedule.rate(0.4, step, 200) for step in range(200)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[:20] == sorted(rates[:20])
    assert max(rates) == rates[19] == rates[20] == 0.4
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_the_decays_follow_their_formulas():
    cosine, linear, trapezoid = (Schedule(name, 0.0, 0.25) for name in NAMES)
    assert cosine.rate(2.0, 25, 100) == pytest.approx(1 + math.cos(math.pi / 4))
    assert linear.rate(2.0, 25, 100) == pytest.approx(1.5)
    assert {trapezoid.rate(2.0, step, 100) for step in range(76)} == {2.0}
    assert trapezoid.rate(2.0, 80, 100) == pytest.approx(1.6)
    assert trapezoid.rate(2.0, 99, 100) == pytest.approx(0.08)


@given(
    st.sampled_from(NAMES), st.integers(1, 60), st.floats(0, 1), st.floats(0, 1, exclude_min=True)
)
def test_a_rate_is_positive_and_at_most_the_peak(name, steps, warmup, cooldown):
    schedule = Schedule(name, warmup, cooldown)
    assert all(0 < schedule.rate(0.3, step, steps) <= 0.3 for step in range(steps))


def test_images_grow_to_full_size_and_stay():
    resizing = Resizing(start=0.5, full_from=0.6)
    sizes = [resizing.pixels(step, 100, 32) for step in range(100)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[30], sizes[60], sizes[99]) == (16, 24, 32, 32)
    assert {size % 4 for size in sizes} == {0}
    assert Resizing(0.1).pixels(0, 100, 28) == 8
    assert Resizing(0.1).pixels(0, 100, 6) == 6
    assert Resizing(0.5, full_from=0.01).pixels(1, 100, 32) == 32


def test_training_batches_have_the_size_of_their_step():
    stream = random_images((3, 12, 12), batch=16, batches=6)
    images = Images(stream.info, stream.split, stream.split, stream.split)
    params = NetworkParams(batch=16, epochs=3, first_size=8 / 12)
    walked = [images.stream(params).at(step) for step in range(18)]
    assert [batch.images_NCHW.shape[-1] for batch in walked] == [8] * 5 + [12] * 13
    plain = images.stream(NetworkParams(batch=16, epochs=3))
    assert torch.equal(plain.at(17).images_NCHW, walked[17].images_NCHW)
    assert torch.equal(plain.at(0).labels_N, walked[0].labels_N)


def test_the_settings_reach_the_recipe():
    params = NetworkParams(schedule="trapezoid", warmup_fraction=0.3, cooldown_fraction=0.4)
    assert params.recipe(10).schedule == Schedule("trapezoid", 0.3, 0.4)
    assert NetworkParams().recipe(10).schedule == Schedule("cosine", 0.1)


def test_a_live_teacher_with_resized_images_is_refused():
    with pytest.raises(ParamsError, match=r"train\.soft_labels: .*use cached, or first_size: 1"):
        bind({"soft_labels": "live", "first_size": 0.5}, "train", TrainParams)
    bind({"soft_labels": "live"}, "train", TrainParams)
    bind({"first_size": 0.5}, "train", TrainParams)
