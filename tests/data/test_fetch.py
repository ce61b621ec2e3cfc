import json

import numpy as np
import pytest

from core.errors import UserError
from core.files import sha256_file
from core.stage import run_stage
from data.settings import DataParams
from stages.fetch import fetch


def data_params(**changes):
    values = {
        "source": "digits",
        "path": "artifacts/raw",
        "size": 28,
        "val_fraction": 0.1,
        "test_fraction": 0.15,
        "max_corrupt": 0,
    }
    return DataParams(**{**values, **changes})


def run(tmp_path, out, **changes):
    file = tmp_path / "params.yaml"
    file.write_text(json.dumps({"data": data_params(**changes).model_dump(exclude={"seed"})}))
    run_stage(fetch, [f"--params={file}", f"--out={out}"])
    return json.loads((out / "source.json").read_text())


def test_digits_are_put_where_they_are_read_from(tmp_path):
    out = tmp_path / "raw"
    source = run(tmp_path, out, path=str(out))
    assert source["origin"] == "scikit-learn"
    assert set(source["files"]) == {"images.npy", "labels.npy"}
    for name, checksum in source["files"].items():
        assert sha256_file(out / name) == checksum
    assert np.load(out / "images.npy").shape == (1797, 8, 8, 1)


def test_fetching_twice_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        run(tmp_path, tmp_path / name, path=str(tmp_path / name))
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


@pytest.mark.parametrize("source", ["folder", "digits", "fashion-mnist"])
def test_data_of_the_users_own_are_only_recorded(tmp_path, source):
    out = tmp_path / "raw"
    written = run(tmp_path, out, source=source, path="/somewhere/else")
    assert [file.name for file in out.iterdir()] == ["source.json"]
    assert written["origin"] == "read from /somewhere/else"
    assert written["files"] == {}


def test_a_folder_source_cannot_be_fetched(tmp_path):
    with pytest.raises(UserError, match=r"set data\.path"):
        fetch(data_params(source="folder", path=str(tmp_path)), tmp_path)


def test_fetching_again_removes_what_fetch_wrote_and_nothing_else(tmp_path):
    out = tmp_path / "raw"
    run(tmp_path, out, path=str(out))
    (out / "mine").mkdir()
    (out / "mine" / "cat.png").write_bytes(b"cat")
    (out / "labels.npy").write_bytes(b"changed by hand")
    run(tmp_path, out, source="folder", path="/somewhere/else")
    assert {file.name for file in out.iterdir()} == {"mine", "labels.npy", "source.json"}
    assert (out / "mine" / "cat.png").read_bytes() == b"cat"


def test_fetch_writes_over_no_file_of_the_users(tmp_path):
    out = tmp_path / "raw"
    out.mkdir()
    (out / "labels.npy").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"labels\.npy already exists"):
        run(tmp_path, out, path=str(out))
    assert [file.name for file in out.iterdir()] == ["labels.npy"]
    (out / "labels.npy").unlink()
    (out / "source.json").write_text("{}")
    with pytest.raises(UserError, match=r"source\.json was not written by fetch"):
        run(tmp_path, out, path=str(out))
