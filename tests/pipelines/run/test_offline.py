"""Offline measurement: export of the models and import of the latency table."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from core.errors import UserError
from core.settings import ParamsError
from pipelines.checks.preflight import preflight
from pipelines.plan import make_plan
from pipelines.run.measure import export_models_for, import_device_table
from tests.support import Netwright, Repository

PHONE = {
    "backend": "onnxruntime",
    "budget": {"latency_ms": 50.0},
    "min_accuracy": 0.0,
    "min_class_recall": 0.0,  # of networks that trained for seconds
    "max_error": 100.0,
}


def fill(table: Path) -> None:
    """Fill in milliseconds in every row."""
    rng = np.random.default_rng(0)
    rows = list(csv.reader(table.read_text().splitlines()))
    column = rows[0].index("ms")
    for row in rows[1:]:
        row[column] = f"{rng.uniform(0.1, 1.0):.4f}"
    table.write_text("\n".join(",".join(row) for row in rows) + "\n")


@pytest.mark.slow
def test_an_imported_table_is_used_and_survives_the_next_run(
    digits: Repository, netwright: Netwright
):
    digits.change({"devices": {"one": ..., "rtx": ..., "phone": PHONE}})
    params = digits.root / "params.yaml"
    params.write_text("# a comment\n" + params.read_text())
    before, away = params.read_bytes(), digits.root / "away"
    shown, plan = Console(file=io.StringIO()), make_plan(digits.root)
    inside = digits.root / "artifacts" / "raw" / "away"
    with pytest.raises(UserError, match="lies in artifacts/raw"):
        export_models_for(shown, digits.root, plan, "phone", inside)
    export_models_for(shown, digits.root, plan, "phone", away)

    plan = make_plan(digits.root)
    with pytest.raises(UserError, match="without milliseconds"):
        import_device_table(shown, digits.root, plan, "phone", away / "table.csv")
    assert params.read_bytes() == before
    assert not (digits.root / "tables").exists()

    fill(away / "table.csv")
    table = digits.root / "tables" / "phone.csv"
    table.parent.mkdir()
    table.write_text("mine")
    with pytest.raises(UserError, match="is not the table in params"):
        import_device_table(shown, digits.root, plan, "phone", away / "table.csv")
    assert table.read_text() == "mine"
    table.unlink()
    code, output = netwright(digits.root, "profile", "phone", "--import", "away/table.csv")
    assert code == 0, output
    assert "held-out networks" in output
    assert table.read_bytes() == (away / "table.csv").read_bytes()
    assert digits.params["devices"]["phone"]["table"]["file"] == "tables/phone.csv"
    assert params.read_text().startswith("# a comment\n")
    stale = make_plan(digits.root).stale
    assert "profile@phone" not in stale
    assert "search@phone" in stale

    table.write_text(table.read_text() + "# an edit\n")
    with pytest.raises(ParamsError, match="changed since its import"):
        preflight(digits.root)


def test_import_and_export_at_once_are_refused(tmp_path: Path, netwright: Netwright):
    (tmp_path / "x.csv").write_text("kind\n")
    command = ("profile", "one", "--import", "x.csv", "--export-models", "y")
    code, output = netwright(tmp_path, *command)
    assert code == 2
    assert "one at a time" in output
