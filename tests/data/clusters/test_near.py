import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from data.clusters import near
from data.clusters.near import find_near, join_clusters


def scenes(count, size=64, seed=0):
    """Different smooth pictures, such as photographs are at low resolution."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return [Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC) for c in coarse]


def saved(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


VARIED = {
    "compression": lambda image: saved(image, 50),
    "size": lambda image: image.resize((32, 32)).resize(image.size),
    "brightness": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
}


def arrays(images):
    return np.stack([np.asarray(image) for image in images])


def found(images_NHWC, labels_N=None):
    rows = np.arange(len(images_NHWC))
    labels_N = np.zeros(len(rows), np.int64) if labels_N is None else labels_N
    return find_near(images_NHWC, labels_N, rows)


@pytest.mark.parametrize("change", VARIED)
def test_copies_that_only_a_machine_tells_apart_are_found(change):
    originals = scenes(40)
    images_NHWC = arrays([*originals, *map(VARIED[change], originals)])
    clusters_N = join_clusters(found(images_NHWC).links_E2, 80)
    assert clusters_N.tolist() == [*range(40), *range(40)]


def test_different_pictures_are_not_joined():
    assert len(found(arrays(scenes(300))).links_E2) == 0


def test_flat_images_are_no_near_duplicates_of_each_other():
    levels = np.arange(0, 250, 10, dtype=np.uint8)
    assert len(found(np.tile(levels[:, None, None, None], (1, 16, 16, 1))).links_E2) == 0


def test_contradicting_labels_are_listed_once_per_image():
    one, two = scenes(2)
    images_NHWC = arrays([one, two, saved(one, 60), saved(one, 50), saved(two, 50)])
    near_ = found(images_NHWC, np.array([0, 0, 1, 0, 0]))
    assert {pair for pair in near_.contradictions if 2 in pair} == set(near_.contradictions)
    assert (0, 2) in near_.contradictions


def test_only_the_given_rows_are_compared():
    one, two = scenes(2)
    images_NHWC = arrays([one, two, saved(one, 60), saved(two, 60)])
    links = find_near(images_NHWC, np.zeros(4, np.int64), np.array([0, 1, 3])).links_E2
    assert join_clusters(links, 4).tolist() == [0, 1, 2, 1]


def test_tiles_and_batches_do_not_change_the_clusters(monkeypatch):
    originals = scenes(30)
    images_NHWC = arrays([saved(image, q) for q in (90, 70, 50) for image in originals])
    whole = join_clusters(found(images_NHWC).links_E2, 90)
    monkeypatch.setattr(near, "_TILE", 4)
    monkeypatch.setattr("data.store._BATCH_BYTES", 7 * 64 * 64 * 3)
    assert np.array_equal(join_clusters(found(images_NHWC).links_E2, 90), whole)
    assert np.array_equal(whole, np.tile(np.arange(30), 3))


@given(st.integers(0, 1000), st.integers(0, near.MOST_BITS))
@settings(max_examples=30, deadline=None)
def test_every_pair_of_near_hashes_is_compared(seed, bits):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 1 << 63, 30, dtype=np.uint64)
    for place in rng.choice(64, bits, replace=False):
        hashes[7] ^= np.uint64(1) << np.uint64(place)
    hashes = np.append(hashes, hashes[7])
    for place in rng.choice(64, bits, replace=False):
        hashes[-1] ^= np.uint64(1) << np.uint64(place)
    pairs = set()
    for some, others in near._tiles(hashes):
        pairs |= {(a, b) for a in some.tolist() for b in others.tolist()}
    assert (7, 30) in pairs or (30, 7) in pairs


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=25))
def test_clusters_are_connected_and_named_by_their_first(pairs):
    clusters_N = join_clusters(np.array(pairs, np.int64).reshape(-1, 2), 20)
    assert all(clusters_N[one] == clusters_N[other] for one, other in pairs)
    for name in set(clusters_N.tolist()):
        assert name == np.flatnonzero(clusters_N == name).min()
