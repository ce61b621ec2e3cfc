import json
from pathlib import Path

import pytest

from core.files import FileFormatError
from models.search.race.ledger import Ledger, merge, read_ledger
from tests.races import RECIPE, entry, networks, standing

A, B, C = networks(3)
OTHER_DATA = RECIPE.model_copy(update={"data": "other"})
OTHER_RECIPE = RECIPE.model_copy(update={"steps": 32})


def ledger() -> Ledger:
    """One training of this recipe, one on other data and one with another recipe."""
    entries = (
        entry(A, standing(4, 1.0), standing(16, 0.5)),
        entry(B, standing(16, 0.1), recipe=OTHER_DATA),
        entry(C, standing(32, 0.1), recipe=OTHER_RECIPE),
    )
    return Ledger(recipe=RECIPE, entries=entries, winners={"one": A.id, "two": C.id, "gone": "x"})


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    ledger().write(tmp_path)
    assert read_ledger(tmp_path) == ledger()
    assert read_ledger(tmp_path / "ledger.json") == ledger()
    content = json.loads((tmp_path / "ledger.json").read_text())
    assert content["schema"] == "netwright/ledger/1"
    assert content["entries"][0]["standings"][1]["nll"] == 0.5


def test_an_entry_is_an_answer_only_for_its_data_and_recipe() -> None:
    assert [one.architecture for one in ledger().of(RECIPE).values()] == [A]
    assert [one.architecture for one in ledger().of(OTHER_DATA).values()] == [B]
    assert ledger().of(RECIPE.model_copy(update={"training": "new"})) == {}


def test_the_winners_are_known_by_device() -> None:
    assert ledger().winning() == {"one": A, "two": C}


def test_what_a_ledger_is_good_for_is_told() -> None:
    assert ledger().describe_use(RECIPE) == (
        "race.ledger: of 3 trainings, 1 trainings are reused; 1 on other data and 1 with another "
        "recipe are no answers, and only inform proposals."
    )
    other = ledger().describe_use(RECIPE.model_copy(update={"data": "a", "training": "b"}))
    assert "3 on other data are no answers" in other
    assert "reused" not in other
    empty = ledger().model_copy(update={"entries": ()})
    assert empty.describe_use(RECIPE) == "race.ledger: of 0 trainings, none."


def test_an_empty_folder_is_no_ledger_and_a_wrong_path_is_named(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").touch()
    assert read_ledger(tmp_path) is None
    with pytest.raises(FileFormatError, match=r"race.ledger: .*missing does not exist"):
        read_ledger(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(FileFormatError, match=r"has files, but no ledger\.json"):
        read_ledger(tmp_path)
    with pytest.raises(FileFormatError, match=r"notes\.txt is not a `\.json` file"):
        read_ledger(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:100], "is not JSON"),
        (lambda text: text.replace("ledger/1", "ledger/2"), "has schema 'netwright/ledger/2'"),
        (lambda text: text.replace('"nll": 0.5', '"nll": "low"'), "malformed at 'entries"),
        (lambda text: text.replace('"nll"', '"loss"'), "malformed at 'entries"),
        (lambda text: text.replace('"operator"', '"operation"'), "malformed at 'entries"),
    ],
)
def test_a_malformed_ledger_is_named(tmp_path: Path, change, message: str) -> None:
    ledger().write(tmp_path)
    file = tmp_path / "ledger.json"
    changed = change(file.read_text())
    assert changed != file.read_text()
    file.write_text(changed)
    with pytest.raises(FileFormatError, match=message) as raised:
        read_ledger(tmp_path)
    assert "ledger.json" in str(raised.value)


def test_a_training_without_any_evaluation_is_malformed(tmp_path: Path) -> None:
    ledger().write(tmp_path)
    content = json.loads((tmp_path / "ledger.json").read_text())
    content["entries"][0]["standings"] = []
    (tmp_path / "ledger.json").write_text(json.dumps(content))
    with pytest.raises(FileFormatError, match=r"malformed at 'entries\.0\.standings'"):
        read_ledger(tmp_path)


def test_merged_entries_are_sorted_and_keep_every_rung() -> None:
    before = entry(A, standing(4, 1.0), standing(16, 0.5))
    after = entry(A, standing(4, 0.9), standing(8, 0.7))
    other = entry(A, standing(16, 0.1), recipe=OTHER_DATA)
    found = merge([before, other, entry(B, standing(4, 1.0)), after])
    assert found == merge([entry(B, standing(4, 1.0)), other, before, after])
    assert len(found) == 3
    (joined,) = [one for one in found if one.architecture == A and one.recipe == RECIPE]
    assert [(one.steps, one.nll) for one in joined.standings] == [(4, 0.9), (8, 0.7), (16, 0.5)]
