import json

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from data.sources.base import Layout, LoadOptions
from data.sources.listing import ImageList
from data.sources.table import TableParams

FILES = tuple(f"imgs/{index}.png" for index in range(8))
LABELS = ("cat", "dog") * 4


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "imgs").mkdir()
    for file in FILES:
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(tmp_path / file)
    return tmp_path


def csv_text(columns="path,label", rows=None, between=","):
    rows = zip(FILES, LABELS, strict=True) if rows is None else rows
    lines = [columns, *(",".join(row) for row in rows)]
    return "\n".join(lines).replace(",", between)


def load(folder, **table):
    options = LoadOptions(12, "crop", 0, Layout(TableParams(**table)))
    return ImageList().load(folder, options, lambda done, of: None)


def expect_all(loaded):
    assert loaded.files == FILES
    assert loaded.classes == ("cat", "dog")
    assert loaded.labels_N.tolist() == [0, 1] * 4


def refused(folder, words, **table):
    with pytest.raises(UserError, match=words):
        ImageList().check(folder, Layout(TableParams(**table)))


JSON = [{"file_name": file, "label": label} for file, label in zip(FILES, LABELS, strict=True)]
FORMS = {
    "a.csv": csv_text(),
    "b.csv": csv_text("image;class", between=";"),
    "c.tsv": csv_text("file_name,category", between="\t"),
    "d.csv": "\ufeff" + csv_text("filename,Label"),
    "e.json": json.dumps(JSON),
    "f.json": json.dumps({"images": JSON, "version": "1"}),
    "g.json": json.dumps(dict(zip(FILES, LABELS, strict=True))),
    "metadata.jsonl": "\n".join(map(json.dumps, JSON)),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_list_is_read(folder, name):
    (folder / name).write_text(FORMS[name], encoding="utf-8")
    expect_all(load(folder))


def test_images_are_those_of_the_files(folder):
    (folder / "a.csv").write_text(csv_text())
    loaded = load(folder)
    for index, file in enumerate(FILES):
        assert np.array_equal(loaded.images_NHWC[:][index], np.asarray(Image.open(folder / file)))


def test_splits_and_groups_of_the_list_are_used(folder):
    splits = ("train", "train", "Training", "train", "valid", "val", "test", "test")
    groups = ("p1", "p1", "p2", "p3", "p4", "p5", "p6", "p7")
    rows = zip(FILES, LABELS, splits, groups, strict=True)
    (folder / "a.csv").write_text(csv_text("path,label,split,group", rows))
    loaded = load(folder)
    assert np.flatnonzero(loaded.given["val"]).tolist() == [4, 5]
    assert np.flatnonzero(loaded.given["test"]).tolist() == [6, 7]
    assert loaded.groups == groups


def test_one_list_per_split_is_one_data_set(folder):
    parts = {"train": slice(0, 4), "valid": slice(4, 6), "test": slice(6, 8)}
    for name, part in parts.items():
        rows = zip(FILES[part], LABELS[part], strict=True)
        (folder / f"{name}.csv").write_text(csv_text(rows=rows))
    loaded = load(folder)
    assert sorted(loaded.files) == sorted(FILES)
    assert {name: int(mask_N.sum()) for name, mask_N in loaded.given.items()} == {
        "val": 2,
        "test": 2,
    }


def test_hugging_faces_metadata_per_split_names_files_beside_it(folder):
    for name, part in (("train", slice(0, 6)), ("test", slice(6, 8))):
        (folder / name).mkdir()
        lines = []
        for file, label in zip(FILES[part], LABELS[part], strict=True):
            base = file.removeprefix("imgs/")
            (folder / file).rename(folder / name / base)
            lines.append(json.dumps({"file_name": base, "label": label}))
        (folder / name / "metadata.jsonl").write_text("\n".join(lines))
    loaded = load(folder)
    assert loaded.files[-1] == "train/5.png"
    assert loaded.given["test"].sum() == 2


def test_numbers_are_classes_in_order_of_value(folder):
    rows = [{"path": file, "label": 10 - index % 2} for index, file in enumerate(FILES)]
    (folder / "a.json").write_text(json.dumps(rows))
    loaded = load(folder)
    assert loaded.classes == ("9", "10")
    assert loaded.labels_N.tolist() == [1, 0] * 4


def test_settings_name_the_file_and_the_columns(folder):
    (folder / "a.csv").write_text("no list")
    (folder / "b.csv").write_text(csv_text("where,what"))
    expect_all(load(folder, file="b.csv", image="where", label="what"))


def test_repeated_rows_and_unlisted_files_are_noted(folder):
    rows = zip(FILES[:6] + FILES[:1], LABELS[:6] + LABELS[:1], strict=True)
    (folder / "a.csv").write_text(csv_text(rows=rows))
    notes = load(folder).notes
    assert "not in the list, and ignored: 2 files." in notes
    assert "listed repeatedly, and used once: 1 row." in notes


def test_an_image_of_two_splits_is_refused(folder):
    splits = ("train",) * 7 + ("test",)
    rows = [*zip(FILES, LABELS, splits, strict=True), (FILES[0], LABELS[0], "test")]
    (folder / "a.csv").write_text(csv_text("path,label,split", rows))
    refused(folder, r"image 9: imgs/0\.png is listed with the splits 'train' and 'test'. Keep one")


@pytest.mark.parametrize(
    "path", ["../{out}", "/etc/hostname", "imgs/../../{out}", "{absolute_out}"]
)
def test_paths_that_leave_the_folder_are_refused(tmp_path, folder, path):
    inside = tmp_path / "data"
    inside.mkdir()
    (folder / "imgs").rename(inside / "imgs")
    Image.new("RGB", (4, 4)).save(tmp_path / "out.png")
    bad = path.format(out="out.png", absolute_out=tmp_path / "out.png")
    rows = zip((bad, *FILES[1:]), LABELS, strict=True)
    (inside / "a.csv").write_text(csv_text(rows=rows))
    refused(inside, r"image 1: .* lies outside .*Move the images")


def test_an_absolute_path_inside_is_a_path_inside(folder):
    rows = zip((str(folder / FILES[0]), *FILES[1:]), LABELS, strict=True)
    (folder / "a.csv").write_text(csv_text(rows=rows))
    expect_all(load(folder))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, r"has no list of images.*set data\.source to folder"),
        ({"a.csv": "", "b.csv": ""}, r"several lists: a\.csv, b\.csv\. Set data\.table\.file"),
        ({"a.csv": "path,label\n"}, r"a\.csv lists no images"),
        ({"a.csv": csv_text("where,label")}, r"columns where, label; none.*Set data\.table\.image"),
        ({"a.csv": csv_text("path,what")}, r"none of them.*the label.*data\.table\.label"),
        ({"a.csv": csv_text("path,label,class", zip(FILES, LABELS, LABELS, strict=True))},
         r"label, class may all hold the label. Set data\.table\.label"),
        ({"a.csv": csv_text() + "\nx.png"}, "number of columns"),
        ({"a.csv": csv_text() + "\nimgs/no.png,cat"}, r"1 of 9 listed .*: imgs/no\.png"),
        ({"a.csv": csv_text() + "\nimgs\\1.png,cat"}, r"Write / instead of"),
        ({"a.csv": csv_text() + f"\n{FILES[0]},dog"}, r"image 9: imgs/0\.png.*'cat' and 'dog'"),
        ({"a.csv": csv_text() + "\n,cat"}, "image 9 has no path"),
        ({"a.json": "[1]"}, "must be an object"),
        ({"a.json": "{"}, "a.json cannot be read"),
        ({"a.json": "3"}, "neither a list of images nor labels by path"),
        ({"a.json": json.dumps([*JSON, {"file_name": FILES[0]}])}, "labels 'cat' and None"),
        ({"a.json": json.dumps([{"path": FILES[0], "label": 1.5}])}, r"1\.5 \(image 1\)"),
        ({"a.csv": csv_text("path,label,split", ((FILES[0], "cat", "dev"),))},
         r"unknown splits 'dev'.*train, val or test"),
        ({"a.csv": csv_text("path,label,split", ((FILES[0], "cat", "test"),))}, "split train"),
        ({"a.csv": csv_text("path,label,group", ((FILES[0], "cat", ""),))}, "image 1 has no group"),
        ({"a.csv": csv_text(rows=zip(FILES, ["cat"] * 8, strict=True))}, "one class only, 'cat'"),
        ({"a.csv": csv_text(rows=zip(FILES, ["cat"] * 7 + ["dog"], strict=True))},
         r"too few images for train, val and test in 'dog' \(1\)"),
    ],
)  # fmt: skip
def test_lists_that_cannot_be_used_say_why_and_what_to_do(folder, files, words):
    for name, text in files.items():
        (folder / name).write_text(text)
    refused(folder, words)


def test_settings_that_match_nothing_are_refused(folder):
    (folder / "a.csv").write_text(csv_text())
    refused(folder, r"has no file b\.csv: set data\.table\.file", file="b.csv")
    refused(folder, r"data\.table\.label is 'species'. Set it to one of them", label="species")


def test_text_that_is_not_utf8_is_refused(folder):
    (folder / "a.csv").write_bytes(csv_text().encode() + b"\nimgs/caf\xe9.png,cat")
    refused(folder, "not UTF-8 text.*Save it as UTF-8")


def test_a_class_that_a_split_lacks_is_named(folder):
    splits = ("train",) * 6 + ("test",) * 2
    rows = zip(FILES, ("cat", "dog") * 3 + ("cat", "cat"), splits, strict=True)
    (folder / "a.csv").write_text(csv_text("path,label,split", rows))
    refused(folder, "none of 'dog' in test. Add some")
