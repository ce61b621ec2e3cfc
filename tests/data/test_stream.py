import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from data.dataset import Augment, Split
from data.stream import (
    TrainStream,
    apply_variation,
    draw_variation,
    eval_batches,
    normalise,
    resize,
)


def equal(one, other):
    assert one.second_NCHW is None
    assert other.second_NCHW is None
    return all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))


def test_normalising_follows_the_formula(info, train):
    images_NCHW = normalise(train.images_NHWC, info)
    expected_NHWC = (train.images_NHWC / 255.0 - info.mean) / info.std
    assert images_NCHW.shape == (100, 3, 12, 12)
    assert images_NCHW.dtype == torch.float32
    assert images_NCHW.is_contiguous(memory_format=torch.channels_last)
    assert np.allclose(images_NCHW.permute(0, 2, 3, 1).numpy(), expected_NHWC, atol=1e-5)


def test_normalising_leaves_its_input_alone(info, train):
    before_NHWC = train.images_NHWC.copy()
    normalise(train.images_NHWC, info).zero_()
    assert np.array_equal(train.images_NHWC, before_NHWC)


def test_a_step_does_not_depend_on_the_steps_before(info, train):
    walked = TrainStream(train, info, 16, seed=3, augment=True)
    steps = [walked.at(step) for step in range(20)]
    for step in (19, 0, 7, 13):
        fresh = TrainStream(train, info, 16, seed=3, augment=True)
        assert equal(fresh.at(step), steps[step])


def test_seeds_and_epochs_have_their_own_orders(info, train):
    stream = TrainStream(train, info, 16, seed=3, augment=False)
    other = TrainStream(train, info, 16, seed=4, augment=False)
    first = stream.at(0).indices_N
    assert not torch.equal(first, other.at(0).indices_N)
    assert not torch.equal(first, stream.at(stream.steps_per_epoch).indices_N)


def test_an_epoch_has_no_image_twice_and_drops_the_incomplete_batch(info, train):
    stream = TrainStream(train, info, 16, seed=0, augment=False)
    assert stream.steps_per_epoch == 6
    seen = torch.cat([stream.at(step).indices_N for step in range(6)])
    assert len(seen) == len(seen.unique()) == 96


def test_a_batch_holds_the_images_its_indices_name(info, train):
    batch = TrainStream(train, info, 16, seed=0, augment=False).at(9)
    indices = batch.indices_N.numpy()
    assert torch.equal(batch.images_NCHW, normalise(train.images_NHWC[indices], info))
    assert batch.labels_N.tolist() == train.labels_N[indices].tolist()


def test_a_split_smaller_than_a_batch_is_given_whole(info, train):
    stream = TrainStream(train, info, 256, seed=0, augment=True)
    assert stream.steps_per_epoch == 1
    assert sorted(stream.at(5).indices_N.tolist()) == list(range(100))


@pytest.mark.parametrize("shares", [1, 2, 4])
def test_shares_of_a_batch_make_up_the_whole(info, train, shares):
    whole = TrainStream(train, info, 16, seed=3, augment=True).at(7, views=2)
    streams = [TrainStream(train, info, 16, 3, True, (rank, shares)) for rank in range(shares)]
    mine = [stream.at(7, views=2) for stream in streams]
    assert whole.weights_N is None
    for column, undivided in enumerate(whole[:4]):
        assert torch.equal(torch.cat([batch[column] for batch in mine]), undivided)
    assert {stream.steps_per_epoch for stream in streams} == {6}


def test_a_batch_that_cannot_be_shared_is_refused(info, train):
    with pytest.raises(UserError, match="16 images cannot be split into 3 equal shares"):
        TrainStream(train, info, 16, 3, True, (0, 3))


def test_a_second_view_varies_the_same_images_anew(info, train):
    stream = TrainStream(train, info, 16, seed=3, augment=True)
    both, one = stream.at(7, views=2), stream.at(7)
    assert equal(one, both._replace(second_NCHW=None))
    assert not torch.equal(both.second_NCHW, both.images_NCHW)
    assert torch.equal(both.second_NCHW, stream.at(7, views=2).second_NCHW)
    assert not torch.equal(both.second_NCHW, stream.at(8, views=2).second_NCHW)
    still = TrainStream(train, info, 16, seed=3, augment=False).at(7, views=2)
    assert torch.equal(still.second_NCHW, still.images_NCHW)


def test_an_empty_split_is_refused(info, train):
    empty = Split(train.images_NHWC[:0], train.labels_N[:0])
    with pytest.raises(UserError, match="0 images"):
        TrainStream(empty, info, 16, seed=0, augment=True)


def test_changing_a_batch_changes_no_later_batch(info, train):
    stream = TrainStream(train, info, 16, seed=0, augment=False)
    kept = TrainStream(train, info, 16, seed=0, augment=False).at(0)
    for tensor in stream.at(0)[:3]:
        tensor.zero_()
    assert equal(stream.at(0), kept)


def test_augmentation_is_what_the_data_set_says(info, train):
    still = info.model_copy(update={"augment": Augment(flip=False, shift=0)})
    plain = TrainStream(train, info, 16, seed=0, augment=False).at(0)
    assert equal(TrainStream(train, still, 16, seed=0, augment=True).at(0), plain)
    assert not equal(TrainStream(train, info, 16, seed=0, augment=True).at(0), plain)


@given(st.booleans(), st.integers(0, 4), st.integers(0, 99))
def test_every_varied_image_is_a_shifted_maybe_mirrored_one(flip, shift, seed):
    rng = np.random.default_rng(seed)
    images_NHWC = rng.integers(1, 256, (6, 5, 7, 2), dtype=np.uint8)
    augment = Augment(flip=flip, shift=shift)
    varied_NHWC = apply_variation(images_NHWC, augment, draw_variation(6, augment, rng))
    moves = range(-shift, shift + 1)
    for image_HWC, varied_HWC in zip(images_NHWC, varied_NHWC, strict=True):
        possible = [moved(image_HWC, down, right) for down in moves for right in moves]
        if flip:
            possible += [candidate[:, ::-1] for candidate in possible]
        assert any(np.array_equal(varied_HWC, candidate) for candidate in possible)


def test_resizing_is_antialiased_and_keeps_the_memory_format():
    stripes_NCHW = torch.zeros(1, 2, 16, 16).contiguous(memory_format=torch.channels_last)
    stripes_NCHW[..., ::2] = 1  # sampling every other pixel would give 0 or 1
    small_NCHW = resize(stripes_NCHW, 8)
    assert small_NCHW.shape == (1, 2, 8, 8)
    assert small_NCHW.is_contiguous(memory_format=torch.channels_last)
    assert (small_NCHW[..., 1:-1] - 0.5).abs().max() < 0.13
    assert resize(stripes_NCHW, 16) is stripes_NCHW


def test_resized_batches_are_a_pure_function_of_the_step(info, train):
    stream = TrainStream(train, info, 16, seed=0, augment=True)
    stream.pixels = lambda step: 8 if step < 2 else 12
    walked = [stream.at(step, views=2) for step in range(4)]
    assert [batch.images_NCHW.shape[-1] for batch in walked] == [8, 8, 12, 12]
    assert [batch.second_NCHW.shape[-1] for batch in walked] == [8, 8, 12, 12]
    assert equal(stream.at(1), walked[1]._replace(second_NCHW=None))


def moved(image_HWC, down, right):
    """The shifted image, padded with black; no pixel of the original is black."""
    height, width, channels = image_HWC.shape
    reach = max(height, width)
    canvas = np.zeros((height + 2 * reach, width + 2 * reach, channels), np.uint8)
    canvas[reach + down : reach + down + height, reach + right : reach + right + width] = image_HWC
    return canvas[reach : reach + height, reach : reach + width]


def test_about_half_of_the_images_are_mirrored(train):
    many_NHWC = np.repeat(train.images_NHWC[:1], 1000, axis=0)
    augment = Augment(flip=True, shift=0)
    variation = draw_variation(1000, augment, np.random.default_rng(0))
    varied_NHWC = apply_variation(many_NHWC, augment, variation)
    mirrored = (varied_NHWC == many_NHWC[0, :, ::-1]).all(axis=(1, 2, 3)).mean()
    assert 0.45 < mirrored < 0.55


def test_evaluation_gives_every_image_once_in_order(info, train):
    batches = list(eval_batches(train, info, 32))
    assert [len(batch.labels_N) for batch in batches] == [32, 32, 32, 4]
    assert torch.cat([batch.indices_N for batch in batches]).tolist() == list(range(100))
    assert torch.cat([batch.labels_N for batch in batches]).tolist() == train.labels_N.tolist()
    images_NCHW = torch.cat([batch.images_NCHW for batch in batches])
    assert torch.equal(images_NCHW, normalise(train.images_NHWC, info))


@pytest.mark.parametrize(("flip", "shift"), [(False, 0), (True, 0), (False, 1), (True, 1)])
def test_as_many_views_are_equal_as_the_augmentation_says(info, train, flip, shift):
    augment = Augment(flip=flip, shift=shift)
    stream = TrainStream(train, info.model_copy(update={"augment": augment}), 100, 0, augment=True)
    same = []
    for step in range(40):
        batch = stream.at(step, views=2)
        assert batch.second_NCHW is not None
        same.append((batch.images_NCHW == batch.second_NCHW).flatten(1).all(1))
    assert torch.cat(same).float().mean().item() == pytest.approx(augment.equal_views, abs=0.03)
