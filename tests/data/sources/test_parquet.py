import io
import json

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from data.sources.base import Layout, LoadOptions
from data.sources.parquet import Parquet
from data.sources.table import TableParams

pa = pytest.importorskip("pyarrow", reason="pip install pyarrow")
pq = pytest.importorskip("pyarrow.parquet", reason="pip install pyarrow")

RNG = np.random.default_rng(0)
COUNT = 200
PIXELS = RNG.integers(0, 256, (COUNT, 12, 12, 3), dtype=np.uint8)
NAMES = ("cat", "unused", "dog")
LABELS = [0, 2] * (COUNT // 2)


def encoded(image_HW3):
    buffer = io.BytesIO()
    Image.fromarray(image_HW3).save(buffer, "PNG")
    return buffer.getvalue()


def table(part=slice(None), labels=LABELS, names=NAMES, **columns):
    """As `datasets` writes it: a struct of bytes and path, and the classes in the metadata."""
    images = [
        {"bytes": encoded(image), "path": f"p{number % 9}/{number}.png"}
        for number, image in enumerate(PIXELS)
    ]
    values = {"image": images, "label": labels, **columns}
    made = pa.table({name: pa.array(column[part]) for name, column in values.items()})
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(names or ()), "_type": "ClassLabel"},
    }
    described = {"huggingface": json.dumps({"info": {"features": features}})}
    return made.replace_schema_metadata(described if names else None)


def write(folder, name, made):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(made, folder / name, row_group_size=70)


def load(folder, rule=None, corrupt=0, **names):
    options = LoadOptions(12, "crop", corrupt, Layout(TableParams(**names), rule))
    return Parquet().load(folder, options, lambda done, of: None)


def refused(folder, words, **names):
    with pytest.raises(UserError, match=words):
        Parquet().check(folder, Layout(TableParams(**names)))


def test_images_and_described_classes_are_read(tmp_path):
    write(tmp_path, "data.parquet", table())
    loaded = load(tmp_path)
    assert np.array_equal(loaded.images_NHWC[:], PIXELS)
    assert loaded.classes == ("cat", "dog")
    assert loaded.labels_N.tolist() == [0, 1] * (COUNT // 2)


def test_files_called_like_splits_give_the_splits(tmp_path):
    write(tmp_path, "data/train-00000-of-00002.parquet", table(slice(0, 90)))
    write(tmp_path, "data/train-00001-of-00002.parquet", table(slice(90, 150)))
    write(tmp_path, "data/validation-00000-of-00001.parquet", table(slice(150, 170)))
    write(tmp_path, "data/test-00000-of-00001.parquet", table(slice(170, 200)))
    loaded = load(tmp_path)
    assert {name: int(mask_N.sum()) for name, mask_N in loaded.given.items()} == {
        "val": 20,
        "test": 30,
    }
    test = np.flatnonzero(loaded.given["test"])
    assert np.array_equal(loaded.images_NHWC[test], PIXELS[170:])


def test_plain_columns_are_found_by_their_settings(tmp_path):
    pixels = [encoded(image) for image in PIXELS]
    species = [NAMES[label] for label in LABELS]
    part = ["train"] * 150 + ["test"] * 50
    who = [f"p{number // 10}" for number in range(COUNT)]
    columns = {"pixels": pixels, "species": species, "part": part, "who": who}
    write(tmp_path, "a.parquet", pa.table(columns))
    loaded = load(tmp_path, image="pixels", label="species", split="part", group="who")
    assert np.array_equal(loaded.images_NHWC[:], PIXELS)
    assert loaded.classes == ("cat", "dog")
    assert loaded.given["test"].sum() == 50
    assert loaded.groups == tuple(who)


def test_groups_are_found_in_the_paths_of_images(tmp_path):
    write(tmp_path, "a.parquet", table())
    assert load(tmp_path, rule=1).groups[:3] == ("p0", "p1", "p2")


def test_rows_without_an_image_count_as_unreadable(tmp_path):
    made = table()
    images = made.column("image").to_pylist()
    images[130]["bytes"] = None
    images[131]["bytes"] = b"no image"
    write(tmp_path, "a.parquet", made.set_column(0, "image", pa.array(images)))
    loaded = load(tmp_path, corrupt=2)
    assert loaded.corrupt == ("a.parquet/130", "a.parquet/131")
    assert np.array_equal(loaded.images_NHWC[:], np.delete(PIXELS, [130, 131], axis=0))


def test_sixteen_bit_images_are_read_again_with_their_scale(tmp_path):
    images = []
    for number in range(20):
        values_HW = np.zeros((12, 12), np.uint16)
        values_HW[:6] = 3000 + number
        buffer = io.BytesIO()
        Image.fromarray(values_HW).save(buffer, "PNG")
        images.append(buffer.getvalue())
    made = pa.table({"image": images, "label": ["a", "b"] * 10})
    write(tmp_path, "a.parquet", made)
    loaded = load(tmp_path)
    assert loaded.bits == 12
    assert loaded.images_NHWC[:].max() == 3019 >> 4


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: pa.table({"a": [1]}), r"columns a; none.*Set data\.table\.image"),
        (lambda: pa.table({"image": ["a.png"], "label": [0]}), "is string, and images must be"),
        (lambda: table(labels=[-1] * COUNT), r"labels must be 0 to 2.*-1 \(image 1\).*Remove"),
        (lambda: table(names=None, labels=[0] * COUNT), "one class only, '0'"),
        (lambda: table(group=[None] * COUNT), "images without a group"),
        (lambda: table(split=["dev"] * COUNT), "unknown splits 'dev'"),
    ],
)
def test_files_that_cannot_be_used_say_why_and_what_to_do(tmp_path, made, words):
    write(tmp_path, "a.parquet", made())
    refused(tmp_path, words)


def test_files_that_disagree_are_refused(tmp_path):
    write(tmp_path, "a.parquet", table(slice(0, 100)))
    write(tmp_path, "b.parquet", table(slice(100, 200), names=("dog", "unused", "cat")))
    refused(tmp_path, r"b\.parquet has other columns or class names")


def test_a_folder_without_files_and_a_damaged_one_are_refused(tmp_path):
    refused(tmp_path, r"no \.parquet files")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    refused(tmp_path, r"a\.parquet is no readable Parquet file")
