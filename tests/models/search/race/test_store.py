"""What a race keeps of its trainings, also after a kill at any moment."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.search.race.store import Store
from models.search.race.training import Finished, Job
from models.training.history import History
from tests.races import networks, standing

A, B = networks(2)


def finished(steps: int) -> Finished:
    named = str(steps).encode()
    return Finished(standing(steps, 1 / steps), named, named, History(steps=(), epochs=1.0))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / ".race.states", "recipe")


def test_a_finished_rung_is_found_and_the_next_one_continues_from_its_state(store: Store) -> None:
    assert store.standing(A, 0, 4) is None
    first = store.job(A, 0, 4)
    assert (first.begin, first.state) == (0, None)
    store.add(first, finished(4))
    assert store.standing(A, 0, 4) == standing(4, 0.25)
    second = store.job(A, 0, 8)
    assert (second.begin, second.state) == (4, b"4")
    store.add(second, finished(8))
    assert store.standing(A, 0, 4) == standing(4, 0.25)  # evaluations stay
    assert store.weights(A, 8) == b"8"
    assert store.history(A, 8) == History(steps=(), epochs=1.0)
    assert store.job(A, 0, 16).begin == 8


def test_networks_and_seeds_have_files_of_their_own(store: Store) -> None:
    store.add(store.job(A, 0, 4), finished(4))
    assert store.standing(B, 0, 4) is None
    assert store.standing(A, 1, 4) is None
    assert store.job(A, 1, 8).state is None


def test_only_the_last_state_is_kept(store: Store) -> None:
    job = store.job(A, 0, 4)
    assert job.save is not None
    job.save.parent.mkdir(parents=True)
    job.save.write_bytes(b"a checkpoint within the rung")
    store.add(job, finished(4))
    store.add(store.job(A, 0, 8), finished(8))
    states = [file.name for file in store.folder(A, 0).iterdir() if file.suffix == ".pt"]
    assert states == ["8.pt"]


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_a_kill_while_a_rung_is_kept_leaves_the_rung_before(store: Store, written: int) -> None:
    """Files appear in their order; the one that says that the rung is finished is the last."""
    store.add(store.job(A, 0, 4), finished(4))
    other = Store(store.root, "other")
    other.add(other.job(A, 0, 4), finished(4))
    other.add(other.job(A, 0, 8), finished(8))
    names = ["8.pt", "8.safetensors", "history-8.json"]
    for name in names[:written]:
        (store.folder(A, 0) / name).write_bytes((other.folder(A, 0) / name).read_bytes())
    (store.folder(A, 0) / ".8.json.abcd.tmp").write_text('{"schema": "netw')
    (store.folder(A, 0) / ".8.pt.abcd.tmp").write_bytes(b"PK")
    assert store.standing(A, 0, 8) is None
    again = store.job(A, 0, 8)
    assert (again.begin, again.state) == (4, b"4")
    store.add(again, finished(8))
    assert store.standing(A, 0, 8) == standing(8, 0.125)


def test_other_rungs_begin_where_a_state_is_left(store: Store) -> None:
    for steps in (4, 8):
        store.add(store.job(A, 0, steps), finished(steps))
    assert store.job(A, 0, 6).state is None  # that of 4 steps is gone
    assert store.job(A, 0, 8) == replace(store.job(A, 0, 6), until=8)
    assert store.job(A, 0, 9).begin == 8


def test_a_store_of_another_recipe_is_not_used_and_is_removed(store: Store) -> None:
    other = Store(store.root, "other")
    other.add(other.job(A, 0, 4), finished(4))
    assert store.standing(A, 0, 4) is None
    job: Job = store.job(A, 0, 8)
    assert job.state is None
    store.add(store.job(A, 0, 4), finished(4))
    store.prune()
    assert [folder.name for folder in store.root.iterdir()] == ["recipe"]
    assert store.standing(A, 0, 4) is not None
