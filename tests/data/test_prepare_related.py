"""Groups, near-duplicates and contradicting labels of a prepared data set."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.stage import run_stage
from data.clusters.issues import LabelIssues
from data.dataset import DatasetInfo, read_split
from stages.prepare import prepare


def run(folder, out, **changes):
    file = out.parent / "params.yaml"
    section = {"source": "folder", "path": "mine", "size": 32, **changes}
    file.write_text(json.dumps({"data": section}))
    run_stage(prepare, [f"--params={file}", f"--source={folder}", f"--out={out}"])
    return DatasetInfo.read(out)


def scene(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


def save(image, file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, **options)


def pixels(file, size=32):
    """What an image file becomes."""
    image = Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).tobytes()


def where(folder, out, files):
    """The split of every file, by its prepared pixels."""
    found = {}
    for name in ("train", "val", "test"):
        for image_HWC in read_split(out, name).images_NHWC:
            found[image_HWC.tobytes()] = name
    return {file: found[pixels(folder / file)] for file in files}


@pytest.fixture
def persons(tmp_path):
    """Two classes of 8 persons with 4 images each, in every class."""
    folder = tmp_path / "mine"
    for person in range(8):
        for index in range(4):
            for name in ("cat", "dog"):
                seed = hash((person, index, name == "cat")) % 2**32
                save(scene(seed), folder / name / f"p{person}" / f"{index}.png")
    return folder


@pytest.mark.parametrize("group", [1, r"/(?P<group>p\d)/"])
def test_a_person_is_in_one_split_and_persons_are_counted(tmp_path, persons, group):
    info = run(persons, tmp_path / "data", group=group)
    assert info.source["groups"] == {"train": 6, "val": 1, "test": 1}
    files = [file.relative_to(persons).as_posix() for file in persons.rglob("*.png")]
    splits = where(persons, tmp_path / "data", files)
    for person in range(8):
        assert len({splits[file] for file in files if f"/p{person}/" in file}) == 1


def test_without_a_group_nothing_is_said_of_groups(tmp_path, persons):
    assert "groups" not in run(persons, tmp_path / "data").source


def test_a_person_across_given_splits_is_refused(tmp_path, persons):
    for name in ("cat", "dog"):
        shutil.copytree(persons / name, tmp_path / "split" / "train" / name)
        (tmp_path / "split" / "test" / name / "p7").mkdir(parents=True)
        moved = tmp_path / "split" / "train" / name / "p7" / "0.png"
        moved.rename(tmp_path / "split" / "test" / name / "p7" / "0.png")
    with pytest.raises(UserError, match=r"1 of 8 groups .*p7 \(train, test\).*Move each group"):
        run(tmp_path / "split", tmp_path / "data", group=1)
    for name in ("cat", "dog"):
        shutil.rmtree(tmp_path / "split" / "train" / name / "p7")
    assert run(tmp_path / "split", tmp_path / "data", group=1).source["groups"]["test"] == 1


@pytest.fixture
def copies(tmp_path):
    """Every image three times: as PNG, and as two JPEGs."""
    folder = tmp_path / "mine"
    for index in range(24):
        name, image = ("cat", "dog")[index % 2], scene(index)
        save(image, folder / name / f"{index}.png")
        save(image, folder / name / f"{index}-a.jpg", quality=60)
        save(image, folder / name / f"{index}-b.jpg", quality=80)
    return folder


def test_near_duplicates_stay_in_one_split_and_are_counted(tmp_path, copies):
    info = run(copies, tmp_path / "data")
    found = {"copies": 48, "conflicting_labels": 0, "across_own_splits": 0}
    assert info.source["near_duplicates"] == found
    files = [file.relative_to(copies).as_posix() for file in copies.rglob("*.*")]
    splits = where(copies, tmp_path / "data", files)
    assert len(splits) == 72
    for file in copies.rglob("*.png"):
        whole = file.relative_to(copies).as_posix().removesuffix(".png")
        assert len({splits[f"{whole}{end}"] for end in (".png", "-a.jpg", "-b.jpg")}) == 1


def test_the_search_can_be_turned_off(tmp_path, copies):
    assert "near_duplicates" not in run(copies, tmp_path / "data", near_duplicates=False).source


def test_near_duplicates_across_given_splits_stay_and_are_said(tmp_path, capsys):
    folder = tmp_path / "mine"
    for index in range(24):
        split, name = ("train", "test")[index >= 16], ("cat", "dog")[index % 2]
        save(scene(index), folder / split / name / f"{index}.png")
    save(scene(0), folder / "test" / "cat" / "leak.jpg", quality=60)
    info = run(folder, tmp_path / "data")
    assert sum(info.counts["test"].values()) == 9
    assert info.source["near_duplicates"]["across_own_splits"] == 1
    assert "1 image of the data's own splits nearly equal" in capsys.readouterr().out


def test_contradicting_labels_are_listed_with_the_place_of_their_pixels(tmp_path, copies, capsys):
    save(scene(0), copies / "dog" / "near.jpg", quality=70)
    shutil.copy(copies / "cat" / "2.png", copies / "dog" / "same.png")
    info = run(copies, tmp_path / "data")
    issues = LabelIssues.read(tmp_path / "data").contradictions
    assert {issue.kind for issue in issues} == {"identical", "near"}
    assert info.source["near_duplicates"]["conflicting_labels"] > 0
    same = next(issue for issue in issues if issue.kind == "identical")
    assert (same.first.file, same.second.file) == ("cat/2.png", "dog/same.png")
    assert (same.first.label, same.second.label) == ("cat", "dog")
    for issue in issues:
        for image in (issue.first, issue.second):
            stored = read_split(tmp_path / "data", image.split).images_NHWC[image.index]
            assert stored.tobytes() == pixels(copies / image.file)
    said = capsys.readouterr().out
    assert "nearly identical images with different labels" in said
    assert "dog/near.jpg" in said


def test_a_data_set_without_contradictions_has_no_file_of_them(tmp_path, copies):
    shutil.copy(copies / "cat" / "2.png", copies / "dog" / "same.png")
    run(copies, tmp_path / "data")
    assert (tmp_path / "data" / LabelIssues.FILE).exists()
    (copies / "dog" / "same.png").unlink()
    run(copies, tmp_path / "data")
    assert not (tmp_path / "data" / LabelIssues.FILE).exists()


def test_copies_of_a_test_image_stay_together_in_the_drawn_splits(tmp_path):
    folder = tmp_path / "mine"
    for index in range(24):
        split, name = ("train", "test")[index >= 16], ("cat", "dog")[index % 2]
        save(scene(index), folder / split / name / f"{index}.png")
    copies = [f"train/cat/copy-{quality}.jpg" for quality in (80, 75, 70, 65, 60, 55)]
    for file in copies:
        save(scene(16), folder / file, quality=int(file[-6:-4]))
    for share in (0.3, 0.4, 0.5):
        run(folder, tmp_path / "data", val_fraction=share)
        assert len(set(where(folder, tmp_path / "data", copies).values())) == 1


def test_a_dropped_image_does_not_hide_that_its_test_image_leaks(tmp_path):
    folder = tmp_path / "mine"
    for index in range(24):
        split, name = ("train", "test")[index >= 16], ("cat", "dog")[index % 2]
        save(scene(index), folder / split / name / f"{index}.png")
    shutil.copy(folder / "test/cat/16.png", folder / "train/cat/0-dropped.png")
    save(scene(16), folder / "train/cat/near.jpg", quality=60)
    info = run(folder, tmp_path / "data")
    assert info.source["near_duplicates"]["across_own_splits"] == 1
