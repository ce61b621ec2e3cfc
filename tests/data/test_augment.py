import json

import numpy as np
import pytest
import torch

from core.settings import ParamsError, bind
from data.augment import augment_images
from data.dataset import NO_POLICY, POLICIES, Augment, DatasetInfo, Policy
from data.settings import DataParams
from data.stream import TrainStream

VALUES = {"source": "folder", "path": "images", "size": 28}
RNG = np.random.default_rng(0)
IMAGES_NHWC = RNG.integers(0, 256, (10, 24, 24, 3), dtype=np.uint8)
SEEDS_N = np.arange(10) + 100


def policy(**changes):
    return NO_POLICY.model_copy(update=changes)


def augment(**section):
    return bind({**VALUES, **section}, "data", DataParams).augment.of(VALUES["source"])


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_policy_changes_images_and_keeps_their_shape(name, channels):
    before_NHWC = IMAGES_NHWC[..., :channels].copy()
    changed_NHWC = augment_images(before_NHWC, POLICIES[name], SEEDS_N)
    assert (changed_NHWC.shape, changed_NHWC.dtype) == (before_NHWC.shape, np.uint8)
    assert (changed_NHWC != before_NHWC).any(axis=(1, 2, 3)).sum() >= 8
    assert np.array_equal(before_NHWC, IMAGES_NHWC[..., :channels])


def test_an_image_depends_on_its_seed_alone():
    whole = augment_images(IMAGES_NHWC, POLICIES["strong"], SEEDS_N)
    order = RNG.permutation(10)
    mixed = augment_images(IMAGES_NHWC[order], POLICIES["strong"], SEEDS_N[order])
    assert np.array_equal(mixed, whole[order])
    assert not np.array_equal(augment_images(IMAGES_NHWC, POLICIES["strong"], SEEDS_N + 1), whole)


def test_torchs_own_random_numbers_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with pytest.MonkeyPatch.context() as patch:  # it reseeds the generators of all GPUs
        patch.setattr(torch, "manual_seed", lambda _: pytest.fail("reseeds GPUs"))
        augment_images(IMAGES_NHWC, POLICIES["strong"], SEEDS_N)
    assert torch.equal(torch.rand(3), expected)


def test_without_transforms_images_stay():
    assert np.array_equal(augment_images(IMAGES_NHWC, NO_POLICY, SEEDS_N), IMAGES_NHWC)


def test_a_crop_keeps_at_least_its_share_of_the_area():
    ramp = np.arange(100, dtype=np.uint8)
    image_HW1 = np.broadcast_to(ramp[None, :, None], (100, 100, 1))
    images_NHWC = np.broadcast_to(image_HW1, (60, 100, 100, 1)).copy()
    changed = augment_images(images_NHWC, policy(scale=0.5), np.arange(60)).astype(int)
    widths = changed[:, 50, -1, 0] - changed[:, 50, 0, 0] + 1
    assert widths.min() >= 100 * np.sqrt(0.5 * 3 / 4) - 3  # the aspect ratio is 3/4 to 4/3
    assert len(set(widths.tolist())) > 10


def test_erasing_blackens_a_rectangle_in_the_stated_share_of_images():
    images_NHWC = np.full((400, 16, 16, 3), 200, np.uint8)
    changed = augment_images(images_NHWC, policy(erase=0.25), np.arange(400))
    assert 0.18 < (changed == 0).any(axis=(1, 2, 3)).mean() < 0.32
    assert set(np.unique(changed).tolist()) == {0, 200}


def test_colour_changes_brightness_within_its_range():
    images_NHWC = np.full((200, 8, 8, 3), 100, np.uint8)
    levels = augment_images(images_NHWC, policy(colour=0.2), np.arange(200))[:, 0, 0, 0]
    assert 78 <= levels.min() < 90
    assert 110 < levels.max() <= 122


@pytest.mark.parametrize("name", POLICIES)
def test_one_word_selects_a_policy(name):
    assert augment(augment=name).policy == POLICIES[name]
    assert augment(augment={"policy": name, "flip": True}) == Augment(
        flip=True, shift=0, policy=POLICIES[name]
    )


def test_fields_change_a_policy():
    changed = augment(augment={"policy": "light", "erase": 0.5}).policy
    assert changed == POLICIES["light"].model_copy(update={"erase": 0.5})
    assert augment(augment={"scale": 0.5}).policy == policy(scale=0.5)
    assert augment(augment="none").policy is None
    assert augment().policy is None


def test_an_unknown_word_is_refused_with_the_known_ones():
    with pytest.raises(ParamsError, match=r"data\.augment.*'none', 'light', 'standard' or"):
        bind({**VALUES, "augment": "heavy"}, "data", DataParams)


@pytest.fixture
def augmented(info):
    return info.model_copy(
        update={"augment": Augment(flip=True, shift=2, policy=POLICIES["strong"])}
    )


def test_a_step_is_a_pure_function_of_seed_and_number(augmented, train):
    stream = TrainStream(train, augmented, 16, seed=3, augment=True)
    walked = [stream.at(step, views=2) for step in range(5)]
    fresh = TrainStream(train, augmented, 16, seed=3, augment=True).at(4, views=2)
    assert torch.equal(fresh.images_NCHW, walked[4].images_NCHW)
    assert torch.equal(fresh.second_NCHW, walked[4].second_NCHW)
    assert not torch.equal(fresh.second_NCHW, fresh.images_NCHW)


def test_shares_of_a_batch_make_up_the_whole(augmented, train):
    whole = TrainStream(train, augmented, 16, seed=3, augment=True).at(7)
    parts = [TrainStream(train, augmented, 16, 3, True, (rank, 2)).at(7) for rank in range(2)]
    joined = torch.cat([part.images_NCHW for part in parts])
    assert torch.equal(joined, whole.images_NCHW)


def test_two_views_of_a_policy_differ_unless_it_only_erases(augmented):
    assert augmented.augment.equal_views == 0
    erasing = NO_POLICY.model_copy(update={"erase": 0.1})
    found = Augment(flip=True, shift=0, policy=erasing).equal_views
    assert found == pytest.approx(0.5 * 0.9**2)


def test_a_policy_survives_its_json_and_its_absence_is_no_key(tmp_path, info, augmented):
    augmented.write(tmp_path)
    assert DatasetInfo.read(tmp_path) == augmented
    info.write(tmp_path)
    assert DatasetInfo.read(tmp_path) == info
    written = json.loads((tmp_path / DatasetInfo.FILE).read_text())
    assert written["augment"] == {"flip": True, "shift": 2}


def test_every_field_of_a_policy_is_a_setting():
    fields = type(bind(VALUES, "data", DataParams).augment).model_fields
    assert Policy.model_fields.keys() <= fields.keys()
