"""The predictor's command on tables as people have them: good ones, and broken ones."""

import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.predictors.__main__ import LEAST_SQUARES, OURS, TREES, main
from benchmarks.predictors.table import examples_of, read_table
from core.errors import UserError

HEAD = ["name", "depth", "kernel", "batch", "latency"]


def rows(count: int) -> list[list[object]]:
    rng = random.Random(0)
    found: list[list[object]] = []
    for number in range(count):
        depth, kernel = rng.choice([2, 3, 4, 5]), rng.choice([1, 3, 5, 7])
        ms = (1 + 0.2 * depth * kernel) * rng.uniform(0.99, 1.01)
        found.append([f"net{number}", depth, kernel, 1, round(ms, 4)])
    return found


def write(
    file: Path, head: Sequence[str], lines: Sequence[Sequence[object]], sep: str = ","
) -> Path:
    file.write_text("\n".join(sep.join(map(str, line)) for line in [head, *lines]) + "\n")
    return file


def run(monkeypatch: pytest.MonkeyPatch, *flags: object) -> None:
    monkeypatch.setattr("sys.argv", ["predictors", *map(str, flags)])
    main()


@pytest.mark.slow
def test_a_table_is_judged_and_fitted_and_named_features_and_folds_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "t.csv", HEAD, rows(40))
    run(monkeypatch, "--csv", table, "--target", "latency")
    text = capsys.readouterr().out
    assert "column 'name' is no feature: 'net0'" in text
    assert "column 'batch' is no feature: it is 1 in every row." in text
    assert "5 folds (seed 0)" in text
    r2 = {}
    for name in (OURS, LEAST_SQUARES, TREES):
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {name} |"))
        r2[name] = float(line.split("|")[2])
    assert all(0.7 < value < 0.95 for value in r2.values()), "a product is no sum of features"
    assert r2[OURS] == pytest.approx(r2[LEAST_SQUARES], abs=0.02)
    assert re.search(r"^\| depth \| [\d.]+ \| [\d.]+ to [\d.]+ \|", text, re.M)
    chosen = ["--features", "kernel, depth", "--folds", 4, "--seed", 3]
    run(monkeypatch, "--csv", table, "--target", "latency", *chosen)
    text = capsys.readouterr().out
    assert "2 features of\n'latency': kernel, depth" in text
    assert "4 folds (seed 3)" in text


@pytest.mark.slow
def test_networks_are_told_apart_by_their_readable_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(0)
    sizes = [1, 3, 3, 1, 3, 3, 3, 1, 3, 3, 3]
    lines = [
        [" ".join(str(rng.randrange(size)) for size in sizes), rng.random()] for _ in range(12)
    ]
    table = write(tmp_path / "t.csv", ["choices", "nll"], lines)
    space = ("--space", "models/spaces/macro.yaml")
    run(monkeypatch, "--csv", table, "--target", "nll", *space)
    assert "stage3.million MACs" in capsys.readouterr().out
    write(table, ["choices", "nll"], [*lines, ["0 3 0 0 0 0 0 0 0 0 0", 1]])
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "--csv", table, "--target", "nll", *space)
    assert stopped.value.code == 2
    assert "row 13 below the header: choices '0 3 0" in capsys.readouterr().err


def read(tmp_path: Path, head: Sequence[str], lines: Sequence[Sequence[object]], sep: str = ","):  # type: ignore[no-untyped-def]
    return examples_of(read_table(write(tmp_path / "t.csv", head, lines, sep)), head[-1])


def test_what_tells_nothing_is_left_out_and_said(tmp_path: Path) -> None:
    lines = [
        [at, d, 2 * d, 1000 * ms, "" if at == 5 else k, "" if at else 1, ms]
        for at, (_, d, k, _, ms) in enumerate(rows(20))
    ]
    head = ["at", "depth", "double", "us", "kernel", "gaps", "ms"]
    examples, notes = read(tmp_path, head, lines)  # type: ignore[misc]
    assert examples.names == ("depth", "kernel")
    assert len(examples.target_N) == 19
    said = " ".join(notes)
    for words in (
        "'gaps' is no feature: 95% of its cells are empty", "1 of 20 rows were left out",
        "'at' is no feature: it numbers", "'double' is no feature: it says the same as 'depth'",
        "'us' is no feature: it is the target in another unit",
    ):  # fmt: skip
        assert words in said


def test_decimal_commas_words_and_marks_of_missing_are_read(tmp_path: Path) -> None:
    lines = [
        ["yes", "1,5", "2,25"],
        ["no", "2,5", "n/a"],
        ["true", "3,5", "4"],
        ["False", "1", "7"],
    ]
    examples, _ = read(tmp_path, ["excited", "width", "ms"], lines, ";")  # type: ignore[misc]
    assert examples.values_NF.tolist() == [[1, 1.5], [1, 3.5], [0, 1]]
    assert examples.target_N.tolist() == [2.25, 4, 7]


@pytest.mark.parametrize(
    ("head", "lines", "message"),
    [
        (["a", "b"], [], "has no rows below"),
        (["a", "a", "b"], [[1, 2, 3]], "two columns 'a'"),
        (["a", "b"], [[1, 2], [1, 2, 3]], "line 3: 3 cells, and the header has 2"),
        (["a", "b"], [[1, 2], [2, "fast"]], "'fast' in column 'b' .row 2"),
        (["a", "b"], [[1, 2], [2, 2]], "'b' is 2 in every row"),
        (["a", "b"], [["x", 2], ["y", 3]], "no column is left to predict from"),
        (["a", "b"], [[1, ""], [2, "nan"]], "no row has both"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(
    tmp_path: Path, head: list[str], lines: list[list[object]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, head, lines)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--target", "latenzy"), "Did you mean 'latency'?"),
        (("--target", "latency", "--features", "latency"), "cannot be a feature as well"),
        (("--target", "latency", "--features", "name"), "'net0' in column 'name'"),
        (("--target", "latency", "--folds", "50"), "cannot be split into 50 folds"),
    ],
)
def test_a_wrong_question_ends_with_2_and_one_line(
    tmp_path: Path,
    flags: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = write(tmp_path / "t.csv", HEAD, rows(20))
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "--csv", table, *flags)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match="is not UTF-8"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_table(tmp_path / "none.csv")
