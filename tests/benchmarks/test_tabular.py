"""What the tabular benchmark stands on; with the published table also what it claims."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.flags import PARAMS
from benchmarks.harness.release import search_settings
from benchmarks.tabular.__main__ import settings
from benchmarks.tabular.compare import Run, final, run, spent
from benchmarks.tabular.table import Table, TableError, nll
from models.search.algorithms import ALGORITHMS

TABLE = "NETWRIGHT_NAS_BENCH_MACRO"
BATCH = search_settings(PARAMS, "fp_nas", 0).batch

given = pytest.mark.skipif(TABLE not in os.environ, reason=f"{TABLE}: the table is not given")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text('{"00000000": {"test_acc": [1, 2, 3], "flops": 1}}')
    with pytest.raises(TableError, match="lacks 6560 of 6561 networks"):
        Table.load(tmp_path / "table.json")


def test_the_nll_is_the_entropy_of_a_calibrated_prediction() -> None:
    assert nll(0.1, 0.1, 10) == pytest.approx(math.log(10))
    parts = [0.9, *[0.1 / 9] * 9]
    assert nll(0.9, 0.9, 10) == pytest.approx(-sum(p * math.log(p) for p in parts))
    assert nll(0.8, 0.9, 10) > nll(0.9, 0.9, 10)


def test_a_query_meets_one_of_three_trainings(invented: Table) -> None:
    rng = np.random.default_rng(0)
    found = [invented.query(6560, np.zeros(0), rng) for _ in range(50)]
    pairs = {(round(one.nll, 9), round(one.accuracy, 9)) for one in found}
    assert pairs == {(round(nll(x, x, 10), 9), x) for x in (0.857, 0.86, 0.863)}


def test_batches_are_fair_and_their_difficulty_is_shared(invented: Table) -> None:
    rng = np.random.default_rng(0)
    pairs = np.array(
        [
            [invented.query(number, shared_N, rng).nll for number in (6560, 6559)]
            for shared_N in rng.standard_normal((400, 256))
        ]
    )
    expected = [np.mean([nll(a, a, 10) for a in (w - 0.003, w, w + 0.003)]) for w in (0.86, 0.85)]
    np.testing.assert_allclose(pairs.mean(0), expected, atol=0.02)
    assert np.corrcoef(pairs.T)[0, 1] > 0.4
    assert (pairs[:, 1] - pairs[:, 0]).std() < pairs[:, 0].std()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_algorithm_searches_the_table(name: str, invented: Table) -> None:
    params = search_settings(PARAMS, name, 0, steps=4)
    for setting in settings(40e6)[1::2]:
        problem = setting.problem(invented, BATCH)
        found = run(params, invented, setting, problem)
        again = run(params, invented, setting, problem)
        assert found == again
        assert max(found.accuracies) <= invented.best(40e6) < invented.best(None)
        assert found.samples[-1] >= 4


def test_an_answer_stays_near_the_best_from_its_last_return_on() -> None:
    assert Run((4, 8, 12, 16), (90.0, 92.9, 92.0, 92.9)).stays(93.0) == 16
    assert Run((4, 8, 12), (92.8, 92.9, 93.0)).stays(93.0) == 4
    assert Run((4, 8), (93.0, 92.7)).stays(93.0) is None


def test_a_run_knows_its_answer_at_any_number_of_samples() -> None:
    one = Run((4, 8, 12), (90.0, 91.0, 92.0))
    assert [one.at(samples) for samples in (4, 7, 8, 100)] == [90.0, 90.0, 91.0, 92.0]


@given
def test_fp_nas_needs_far_fewer_samples_than_parsec() -> None:
    table = Table.load(Path(os.environ[TABLE]))
    setting = settings(50e6)[0]
    problem = setting.problem(table, BATCH)

    def runs(name: str, **changes: object) -> list[Run]:
        every = [search_settings(PARAMS, name, seed, **changes) for seed in range(6)]
        return [run(one, table, setting, problem, on_the_way=False) for one in every]

    few, many = runs("fp_nas"), runs("parsec", fixed_samples=12)
    assert spent(few).mean() <= 0.36 * spent(many).mean()
    assert final(few).mean() > final(many).mean() - table.training_noise
