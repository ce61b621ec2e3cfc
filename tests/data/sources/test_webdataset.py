import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from data.sources.base import Layout, LoadOptions
from data.sources.table import TableParams
from data.sources.webdataset import WebDataset

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
CLASSES = ("cat", "dog") * 4


def encoded(image_HW3, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(image_HW3).save(buffer, kind)
    return buffer.getvalue()


def write(file, members):
    """Write a tar; a member is its content, or a ready `TarInfo`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def samples(numbers=range(8), label="cls"):
    for number in numbers:
        yield f"{number:04}.png", encoded(PIXELS[number])
        text = CLASSES[number] if label == "cls" else json.dumps({"species": CLASSES[number]})
        yield f"{number:04}.{label}", text.encode()


def load(folder, group=None, corrupt=0, **table):
    options = LoadOptions(12, "crop", corrupt, Layout(TableParams(**table), group))
    return WebDataset().load(folder, options, lambda done, of: None)


def refused(folder, words, **table):
    with pytest.raises(UserError, match=words):
        WebDataset().check(folder, Layout(TableParams(**table)))


def test_the_samples_of_all_archives_are_one_data_set(tmp_path):
    write(tmp_path / "000.tar", samples(range(5)))
    write(tmp_path / "001.tar", samples(range(5, 8)))
    loaded = load(tmp_path)
    assert np.array_equal(loaded.images_NHWC[:], PIXELS)
    assert loaded.classes == ("cat", "dog")
    assert loaded.labels_N.tolist() == [0, 1] * 4
    assert loaded.files[5] == "001.tar/0005"


def test_labels_are_read_from_json_by_name(tmp_path):
    write(tmp_path / "000.tar", samples(label="json"))
    assert load(tmp_path, label="species").labels_N.tolist() == [0, 1] * 4
    refused(tmp_path, r"sample 0000 has the columns species; none.*Set data\.table\.label")


def test_archives_called_like_splits_give_the_splits(tmp_path):
    write(tmp_path / "train-000.tar", samples(range(6)))
    write(tmp_path / "val" / "000.tar", samples(range(6, 8)))
    loaded = load(tmp_path)
    assert np.flatnonzero(loaded.given["val"]).tolist() == [6, 7]


def test_an_archive_without_a_split_beside_others_is_refused(tmp_path):
    write(tmp_path / "train-000.tar", samples(range(6)))
    write(tmp_path / "more.tar", samples(range(6, 8)))
    refused(tmp_path, "Every image must be in train, val or test")


def test_groups_are_found_in_keys(tmp_path):
    members = [(f"p{name[3]}/{name}", content) for name, content in samples()]
    write(tmp_path / "000.tar", members)
    assert load(tmp_path, group=1).groups == tuple(f"p{number}" for number in range(8))


def test_names_that_climb_out_write_nothing_and_are_only_names(tmp_path):
    folder = tmp_path / "a" / "b"
    climbing = [(f"../../{name}", content) for name, content in samples(range(4))]
    absolute = [(f"/tmp/netwright-x/{name}", content) for name, content in samples(range(4, 8))]
    write(folder / "000.tar", [*climbing, *absolute])
    assert np.array_equal(load(folder).images_NHWC[:], PIXELS)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [folder / "000.tar"]


def test_links_and_special_members_are_ignored_and_said(tmp_path):
    def special(name, kind, target=""):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        return name, info

    extra = [
        special("link.png", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard.png", tarfile.LNKTYPE, "0000.png"),
        special("pipe.png", tarfile.FIFOTYPE),
        special("folder", tarfile.DIRTYPE),
        ("README.md", b"text"),
        ("__key__/.hidden", b"x"),
    ]
    write(tmp_path / "000.tar", [*samples(), *extra])
    loaded = load(tmp_path)
    assert len(loaded.labels_N) == 8
    assert ".md (1)" in loaded.notes[0]
    assert "links and special files (3)" in loaded.notes[0]


def test_a_damaged_image_counts_as_one(tmp_path):
    members = [(n, b"no image" if n == "0003.png" else c) for n, c in samples()]
    write(tmp_path / "000.tar", members)
    assert load(tmp_path, corrupt=1).corrupt == ("000.tar/0003",)
    with pytest.raises(UserError, match=r"000\.tar/0003 is not an image"):
        load(tmp_path)


@pytest.mark.parametrize("cut", [100, 1700, 2600])
def test_a_truncated_archive_is_refused(tmp_path, cut):
    write(tmp_path / "000.tar", samples())
    content = (tmp_path / "000.tar").read_bytes()
    assert cut < len(content)
    (tmp_path / "000.tar").write_bytes(content[:cut])
    refused(tmp_path, r"000\.tar is damaged")


@pytest.mark.parametrize("header", [2, 6])
def test_a_damaged_header_is_refused_and_not_taken_for_the_end(tmp_path, header):
    write(tmp_path / "000.tar", samples())
    with tarfile.open(tmp_path / "000.tar") as archive:
        offset = archive.getmembers()[header].offset
    content = bytearray((tmp_path / "000.tar").read_bytes())
    content[offset + 3] ^= 1
    (tmp_path / "000.tar").write_bytes(content)
    refused(tmp_path, r"000\.tar is damaged")


def test_a_group_that_the_first_sample_lacks_is_missed(tmp_path):
    members = []
    for number in range(8):
        row = {"label": CLASSES[number]} | ({"group": f"g{number}"} if number else {})
        members += [
            (f"{number}.png", encoded(PIXELS[number])),
            (f"{number}.json", json.dumps(row).encode()),
        ]
    write(tmp_path / "000.tar", members)
    refused(tmp_path, r"sample 0 has no group\. Add it to every sample")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("a.txt", b"cat")], "hold no images"),
        ([("a.png", b"x")], r"sample a has no label: add a\.cls"),
        ([("a.png", b"x"), ("a.jpg", b"x")], "sample a has two images. Keep one"),
        ([("a.png", b"x"), ("a.json", b"{")], r"its \.json cannot be read"),
        ([("a.png", b"x"), ("a.json", b"[1]")], r"its \.json is not an object"),
        ([("a.png", b"x"), ("a.cls", b"")], r"labels must be text .*'' \(image 1\)"),
        ([("a.png", b"x"), ("a.cls", b"0" * 2_000_000)], "2000000 bytes is no label"),
        (list(samples(range(1))), "one class only, 'cat'"),
    ],
)
def test_archives_that_cannot_be_used_say_why(tmp_path, members, words):
    write(tmp_path / "000.tar", members)
    refused(tmp_path, words)


def test_compressed_and_missing_archives_are_refused_with_the_way_out(tmp_path):
    refused(tmp_path, r"no \.tar archives: set data\.path")
    (tmp_path / "000.tar.gz").touch()
    refused(tmp_path, r"compressed archives: 000\.tar\.gz\. Decompress them")
