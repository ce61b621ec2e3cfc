"""Offline devices: exported files and imported tables."""

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import UserError
from core.settings import derive_seed
from devices.device import Budget, Device, ImportedTable
from devices.latency import profile_device
from devices.latency.cost import predict_ms
from devices.latency.csv_file import COLUMNS
from devices.latency.offline import TABLE, check_unchanged, export_models, import_table
from devices.latency.settings import ProfileParams
from models.space.space import SearchSpace
from tests.devices.latency.test_profile import SPACE

PARAMS = ProfileParams(
    networks=5, held_out=2, blocks=3, network_blocks=3, calls=5, time_limit_s=0.1,
    seed=derive_seed(0, "profile"),  # as the stage has it with the root's default
)  # fmt: skip
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    file = tmp_path_factory.mktemp("space") / "space.yaml"
    file.write_text(SPACE)
    return SearchSpace.load(file, (1, 8, 8), 3)


def device(**changes: Any) -> Device:
    settings = {"backend": "onnxruntime", "budget": Budget(latency_ms=50.0), "min_accuracy": 0.0}
    return Device(**settings | {"max_error": 100.0} | changes)


@pytest.fixture(scope="module")
def exported(space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("away") / "phone"
    export_models(space, "phone", device(), PARAMS, folder)
    return folder


def read(table: Path) -> Rows:
    return list(csv.DictReader(table.read_text().splitlines()))


@pytest.fixture
def filled(exported: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a manually filled table with a change."""

    def fill(change: Callable[[Rows], Rows] = lambda rows: rows, remark: str = "") -> Path:
        rng = np.random.default_rng(0)
        rows = [row | {"ms": f"{rng.uniform(0.1, 1.0):.4f}"} for row in read(exported / TABLE)]
        table = tmp_path / "sent.csv"
        with table.open("w") as file:
            file.write(remark)
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(change(rows))
        return table

    return fill


def test_the_folder_holds_all_that_the_other_building_needs(
    exported: Path, space: SearchSpace
) -> None:
    rows = read(exported / TABLE)
    assert {row["key"] for row in rows if row["kind"] == "block"} == {
        block.key for block in space.blocks()
    }
    assert [row["precision"] for row in rows if row["kind"] == "network"] == (
        ["float32"] * 7 + ["int8"] * 7
    )
    for row in rows:
        assert (exported / row["file"]).is_file()
        assert row["ms"] == ""
    assert "netwright profile phone --import" in (exported / "README.txt").read_text()


def test_a_folder_that_holds_something_is_left_alone(exported: Path, space: SearchSpace) -> None:
    before = (exported / TABLE).read_bytes()
    with pytest.raises(UserError, match="is not empty"):
        export_models(space, "phone", device(), PARAMS, exported)
    assert (exported / TABLE).read_bytes() == before


@pytest.mark.slow
def test_the_one_file_fills_a_table_by_the_protocol(exported: Path) -> None:
    whole = (exported / TABLE).read_text()
    lines = whole.splitlines(keepends=True)
    table = exported / "short.csv"  # its first rows are enough to see how it goes
    table.write_text("".join([*lines[:3], next(line for line in lines if "network" in line)]))
    done = subprocess.run(
        [sys.executable, "agent.pyz", "fill", "short.csv", "--blocks", "2", "--calls", "3",
         "--max-interval", "1", "--time-limit", "0.1"],
        cwd=exported, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    remark, *filled = table.read_text().splitlines()
    assert json.loads(remark.removeprefix("# machine:"))["runtime"] == "ONNX Runtime"
    rows = list(csv.DictReader(filled))
    assert [row["kind"] for row in rows] == ["reference", "block", "network"]
    for row in rows:
        assert 0 < float(row["low_ms"]) <= float(row["ms"]) <= float(row["high_ms"])
        assert float(row["spread"]) >= 0


def test_a_full_table_gives_the_model_of_a_profile(
    filled: Callable[..., Path], space: SearchSpace
) -> None:
    table = filled(remark='# machine: {"processor": "Abacus"}\n# by hand\n')
    found, machine = import_table(space, "phone", device(), PARAMS, table)
    assert found.precisions == ("float32", "int8")
    assert machine == {"processor": "Abacus"}
    sent = {row["key"]: float(row["ms"]) for row in csv.DictReader(
        line for line in table.read_text().splitlines() if not line.startswith("#")
    ) if row["kind"] == "block"}  # fmt: skip
    assert found.block_ms == sent
    with pytest.raises(UserError, match=r"devices\.phone\.max_error"):
        import_table(space, "phone", device(max_error=1e-9), PARAMS, table)


def test_blocks_alone_are_a_table_of_unknown_error(
    filled: Callable[..., Path], space: SearchSpace
) -> None:
    table = filled(lambda rows: [row for row in rows if row["kind"] == "block"])
    found, _ = import_table(space, "phone", device(), PARAMS, table)
    assert found.precisions == ("float32",)
    assert found.error == {}
    architecture = space.sample(np.random.default_rng(0))
    total = sum(found.block_ms[block.key] for block in architecture.present)
    assert predict_ms(found, architecture, "float32") == pytest.approx(total)
    with pytest.raises(UserError, match="search precision of 'phone' is int8"):
        import_table(space, "phone", device(precision="int8"), PARAMS, table)


def first(kind: str, /, **changes: str) -> Callable[[Rows], Rows]:
    """Change the first row of a kind."""

    def change(rows: Rows) -> Rows:
        at = next(at for at, row in enumerate(rows) if row["kind"] == kind)
        return [*rows[:at], rows[at] | changes, *rows[at + 1 :]]

    return change


WRONG: dict[str, tuple[Callable[[Rows], Rows], str]] = {
    "a missing block": (lambda rows: rows[:1] + rows[2:], r"1 block\(s\) without milliseconds: 'c"),
    "an empty cell": (first("block", ms=""), r"1 block\(s\) without milliseconds"),
    "no number": (first("block", ms="fast"), r"ms is 'fast', and must be a number"),
    "another unit": (first("block", ms="0.3 ms"), "must be a number"),
    "zero": (first("block", ms="0"), "between 0 and"),
    "a negative number": (first("network", ms="-0.1"), "between 0 and"),
    "not a number": (first("block", ms="nan"), "between 0 and"),
    "infinity": (first("block", ms="inf"), "between 0 and"),
    "an unknown block": (first("block", key="mbconv of dreams"), "has no such block"),
    "an unknown network": (first("network", key="0" * 12), "not one of the requested networks"),
    "an unknown precision": (first("network", precision="int4"), "float32, int8"),
    "a block in int8": (first("block", precision="int8"), "only measured in float32"),
    "a mistyped kind": (first("block", kind="blok"), "Did you mean 'block'"),
    "a row twice": (lambda rows: [*rows, rows[1]], "listed twice"),
    "some networks": (
        lambda rows: (
            [row for row in rows if row["kind"] != "network"]
            + [row for row in rows if row["kind"] == "network"][:3]
        ),
        r"4 float32 network\(s\) without",
    ),
    "networks in int8 alone": (
        lambda rows: [r for r in rows if (r["kind"], r["precision"]) != ("network", "float32")],
        "none in float32",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_table_with_something_wrong_is_refused_with_the_row_and_the_rule(
    mistake: str, filled: Callable[..., Path], space: SearchSpace
) -> None:
    change, words = WRONG[mistake]
    with pytest.raises(UserError, match=f"(?s)nothing was replaced:.*{words}"):
        import_table(space, "phone", device(), PARAMS, filled(change))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no column"),
        (b"kind,key,precision,us\n", "no column 'ms'.*milliseconds"),
        (b"\xff\xfe\x00", "text file"),
        (b"kind,key,precision,ms\n", "without milliseconds"),
        (b"# machine: [1]\nkind,key,precision,ms\n", "does not hold a JSON object"),
    ],
)
def test_what_is_no_table_is_refused(
    content: bytes, words: str, tmp_path: Path, space: SearchSpace
) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError, match=f"(?s){words}"):
        import_table(space, "phone", device(), PARAMS, tmp_path / "x.csv")


def test_a_table_that_was_changed_since_its_import_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "phone.csv"
    file.write_text("a")
    table = ImportedTable(file="phone.csv", sha256=hashlib.sha256(b"a").hexdigest())
    check_unchanged("phone", device(table=table), file)
    file.write_text("b")
    with pytest.raises(UserError, match=r"changed since its import.*--import phone\.csv"):
        check_unchanged("phone", device(table=table), file)
    file.unlink()
    with pytest.raises(UserError, match="is missing"):
        check_unchanged("phone", device(table=table), file)


def test_the_stage_takes_the_table_and_measures_nothing(
    filled: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.stage import run_stage
    from devices.latency.plan import Plan
    from stages.profile import profile
    from tests.devices.latency.test_profile import DATASET

    table = filled()
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(DATASET))
    sha256 = hashlib.sha256(table.read_bytes()).hexdigest()
    params = {
        "profile": PARAMS.model_dump(exclude={"seed"}),
        "devices": {"phone": {
            "backend": "onnxruntime", "budget": {"latency_ms": 50.0}, "min_accuracy": 0.1,
            "max_error": 100.0, "table": {"file": "sent.csv", "sha256": sha256},
        }},
    }  # fmt: skip
    (tmp_path / "params.yaml").write_text(json.dumps(params))

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a device with a table was measured")

    monkeypatch.setattr(profile_device, "measure_device", never)
    monkeypatch.setattr(Plan, "write_models", never)
    flags = {"params": "params.yaml", "space": "space.yaml", "data": "data", "out": "out"}
    words = [f"--{flag}={tmp_path / name}" for flag, name in flags.items()]
    run_stage(profile, ["--device", "phone", *words])
    content = json.loads((tmp_path / "out" / "latency.json").read_text())
    assert content["measured"] is True
    assert content["reference_ms"] is None
    assert content["imported"]["sha256"] == sha256
    assert "imported from sent.csv" in content["why_not_measured"]
    assert (tmp_path / "out" / "latency.png").is_file()
    assert not (tmp_path / "out" / "reference.onnx").exists()
