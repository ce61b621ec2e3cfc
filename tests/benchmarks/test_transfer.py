"""The transfer's benchmark on a problem of seconds: it repeats, it counts, and it cannot cheat."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from sklearn.datasets import load_digits

from benchmarks.search_setting import Setting
from benchmarks.transfer import STARTS, Comparison, large_training_macs, one_seed, shuffled
from benchmarks.transfer_report import Look, equal, report
from benchmarks.transfer_small import fewer
from core.files import write_json
from core.schemas import LATENCY
from data.dataset import Augment, DatasetInfo, Split
from devices.latency.table import LatencyTable
from models.nets.supernet import Supernet
from models.space.distribution import Distribution
from models.space.space import SearchSpace
from models.training.learning import Images

ROOT = Path(__file__).resolve().parents[2]
SPACE = """
name: tiny
sizes: [16, 64]
stem: {operator: conv, channels: 4, stride: 2, settings: {kernel: 3}}
stages:
  - {layers: 2, stride: 2, channels: [4, 6, 8], skip: true, operators: {mbconv: {kernel: [3], expansion: [1, 2, 4]}}}
head: {operator: classifier, settings: {width: 8}}
"""  # noqa: E501


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Digits of 16 pixels, a tiny untrained supernet, and a budget of multiply-accumulates."""
    whole = YAML(typ="safe").load(ROOT / "params.yaml")
    params = {name: whole[name] for name in ("search", "supernet", "rank")}
    params["search"] |= {"steps": 6, "batch": 32, "candidates": 2}
    params["supernet"] |= {"batch": 32}
    params["rank"] |= {"recalibration_batches": 1, "batch": 32}
    budget = {"flops": 60_000}
    params["devices"] = {"card": {"backend": "tensorrt", "budget": budget, "min_accuracy": 0.5}}
    YAML().dump(params, tmp_path / "params.yaml")
    (tmp_path / "space.yaml").write_text(SPACE)
    table = LatencyTable.unmeasured("card", "tensorrt")
    write_json(tmp_path / "profile" / "card" / "latency.json", LATENCY, table.to_json())
    space = SearchSpace.load(tmp_path / "space.yaml", (1, 16, 16), 10)
    return Setting(_digits(), space, Supernet(space), tmp_path, tmp_path / "params.yaml", "card")


def _digits() -> Images:
    digits = load_digits()
    images_NHWC = (np.kron(digits.images, np.ones((1, 2, 2)))[..., None] * 15.9).astype(np.uint8)
    labels_N = digits.target.astype(np.int64)
    train, val, test = (
        Split(images_NHWC[part], labels_N[part])
        for part in (slice(400), slice(400, 500), slice(500, 501))
    )
    names = tuple(map(str, range(10)))
    info = DatasetInfo(
        "digits", (1, 16, 16), names, (0.3,), (0.35,), {}, Augment(False, 0), "pad", {}, {}
    )
    return Images(info, train, val, test)


def test_searches_start_from_the_small_problem_and_repeat(setting: Setting, tmp_path: Path) -> None:
    args = Namespace(algorithms=["fp_nas"], starts=list(STARTS), share=0.5, epochs=1.0)
    compared = Comparison.of(setting)
    seeds = [one_seed(compared, seed, args, tmp_path / "a") for seed in (0, 1)]
    args.starts = ["uniform", "transferred"]
    again = one_seed(compared, 1, args, tmp_path / "b")
    assert again["small"] == seeds[1]["small"]
    assert all(run == seeds[1]["runs"][key] for key, run in again["runs"].items())
    runs = seeds[0]["runs"]
    assert [look["step"] for look in runs["fp_nas uniform"]["looks"]] == [0, 5, 6]
    assert len({look["nll"] for run in runs.values() for look in run["looks"]}) > 2
    assert all(look["flops"] <= 60_000 for run in runs.values() for look in run["looks"])
    uniform = Distribution(setting.space.groups, "factorised").entropy()
    for start in ("transferred", "costs", "shuffled"):
        assert runs[f"fp_nas {start}"]["looks"][0]["entropy"] != pytest.approx(uniform)
    small = seeds[0]["small"]["fp_nas"]
    assert small["costs"]["macs"] == 0 < small["transferred"]["macs"]
    whole = large_training_macs(setting)
    # Half the steps, on maps of a quarter of the size; the last layer has none to shrink.
    assert 0.1 < seeds[0]["small_training_macs"] / whole < 0.25
    text = report({"seeds": seeds, "training_macs": whole}, ["fp_nas"], compared.params)
    assert "`transferred` over `costs`" in text["Starts of `fp_nas`"]
    assert "small supernet, trained" in text["What the small problem costs"]


def test_the_small_problem_never_sees_what_the_large_one_is_judged_on(setting: Setting) -> None:
    images = setting.images
    # Every image says which it is: its grey is its number, and validation images are black.
    numbers = np.arange(200)
    marked = np.broadcast_to(numbers[:, None, None, None], (200, 16, 16, 1)).astype(np.uint8)
    train = Split(marked + 1, numbers.astype(np.int64))
    val = Split(np.zeros((100, 16, 16, 1), np.uint8), np.zeros(100, np.int64))
    small = fewer(Images(images.info, train, val, val), 0, 0.25)
    assert small.info.image_shape == (1, 8, 8)
    assert (len(small.train), len(small.val), len(small.test)) == (50, 25, 0)
    drawn = np.concatenate([part.images_NHWC[:, 0, 0, 0] for part in (small.train, small.val)])
    labels = np.concatenate([small.train.labels_N, small.val.labels_N])
    assert len(set(drawn)) == 75
    np.testing.assert_array_equal(drawn, labels + 1)
    other = fewer(Images(images.info, train, val, val), 1, 0.25)
    assert set(other.train.labels_N) != set(small.train.labels_N)


def test_shuffling_keeps_how_sharp_a_distribution_is(setting: Setting) -> None:
    flat = Distribution(setting.space.groups, "joint")
    sharp = flat.with_logits(np.random.default_rng(0).normal(size=flat.size))
    mixed = [shuffled(sharp, np.random.default_rng(seed)) for seed in range(10)]
    assert {round(one.entropy(), 9) for one in mixed} == {round(sharp.entropy(), 9)}
    assert len({tuple(one.logits) for one in mixed}) > 5


def test_as_good_means_from_there_on() -> None:
    def look(step: int, *nll: float) -> Look:
        return Look(step, 4.0 * step, list(nll))

    def steps(found: Sequence[Look]) -> tuple[int | None, int | None]:
        at = equal(found, [0.5, 0.6, 0.7])
        return at.by_mean and at.by_mean.step, at.shown and at.shown.step

    worse, equals = look(1, 0.6, 0.7, 0.8), look(2, 0.5, 0.6, 0.7)
    assert steps([worse, equals, look(3, 0.5, 0.6, 0.7)]) == (2, 2)
    assert steps([equals, worse]) == (None, None)
    assert steps([worse, look(2, 0.46, 0.6, 0.73)]) == (2, None)  # the mean hides too much
    assert steps([look(1, 0.505, 0.605, 0.705), equals]) == (2, 1)


def test_what_is_saved_pays_for_the_small_problem_first() -> None:
    def run(early: float) -> dict[str, object]:
        looks = [
            {"step": step, "samples": samples, "nll": nll, "entropy": 1.0}
            for step, samples, nll in ((0, 0, 0.9), (5, 20, early), (10, 40, 0.5))
        ]
        return {"looks": looks, "macs": 4e12}

    runs = {"parsec uniform": run(0.6), "parsec transferred": run(0.5), "random": run(0.6)}
    seed = {
        "seed": 0,
        "runs": runs,
        "small": {"parsec": {"transferred": {"samples": 40, "macs": 5e11}}},
        "small_training_macs": 25e11,
    }
    params = Namespace(start_weight=0.5)
    content = {"seeds": [seed, seed], "training_macs": 8e12}
    text = report(content, ["parsec"], params)["What the small problem costs"]  # type: ignore[arg-type]
    assert "at step 5," in text
    assert "2.000 tera-MACs are saved, and the small problem takes 3.000" in text
    assert (
        "In all 1.000 are LOST; where a small supernet is there already, 1.500 are saved." in text
    )
