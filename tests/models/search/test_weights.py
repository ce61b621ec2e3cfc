import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.settings import ParamsError, bind
from data.stream import TrainStream
from models.nets.supernet import SUPERNET_FILE, Supernet
from models.nets.weights import load_into
from models.search.settings import SearchParams
from models.search.weights import SharedWeights, WeightsSettings
from models.training.learning import Images, SearchedWeights
from tests.models.search.test_search import run

SETTINGS = WeightsSettings(learn=True, batch=32, learning_rate=0.1)


@pytest.fixture
def made(world: Any) -> Callable[[], SharedWeights]:
    """A fresh supernet that learns, the same every time."""
    images = Images.read(world.root / "data")

    def make() -> SharedWeights:
        supernet = Supernet(world.space, torch.Generator().manual_seed(0))
        stream = TrainStream(images.train, images.info, SETTINGS.batch, 0, True)
        return SharedWeights(supernet, stream, SETTINGS, 40, 0.3)

    return make


def weights_of(shared: SharedWeights) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in shared.supernet.state_dict().items()}


def test_only_the_sampled_paths_learn(world: Any, made: Callable[[], SharedWeights]) -> None:
    shared = made()
    rng = np.random.default_rng(0)
    drawn = [world.space.sample(rng)]
    before = weights_of(shared)
    shared.learn(drawn)
    moved = {n for n, value in weights_of(shared).items() if not torch.equal(value, before[n])}
    alone = made()
    alone.supernet.train()(torch.zeros(4, 1, 16, 16), drawn[0]).sum().backward()
    used = {n for n, p in alone.supernet.named_parameters() if p.grad is not None}
    learnt = moved & {name for name, _ in shared.supernet.named_parameters()}
    assert learnt
    assert learnt <= used


def test_drawing_an_architecture_twice_is_drawing_it_once(
    world: Any, made: Callable[[], SharedWeights]
) -> None:
    once, twice = made(), made()
    one = world.space.sample(np.random.default_rng(0))
    once.learn([one])
    twice.learn([one, one])
    for name, value in weights_of(once).items():
        torch.testing.assert_close(weights_of(twice)[name], value, msg=name)


def test_the_sampled_architectures_get_better(
    world: Any, made: Callable[[], SharedWeights]
) -> None:
    shared, rng = made(), np.random.default_rng(0)
    for _ in range(40):
        shared.learn([world.space.sample(rng) for _ in range(3)])
    first, *_, last = [row["loss"] for row in shared.run.history]
    assert last < first - 0.1


def test_learning_resumes_in_the_middle_to_the_same_weights(
    world: Any, made: Callable[[], SharedWeights]
) -> None:
    rng = np.random.default_rng(0)
    steps = [[world.space.sample(rng) for _ in range(2)] for _ in range(4)]
    whole, resumed = made(), made()
    for number, drawn in enumerate(steps):
        whole.learn(drawn)
        if number == 1:
            resumed.restore(copy.deepcopy(whole.state()))
        elif number > 1:
            resumed.learn(drawn)
    for name, value in weights_of(whole).items():
        assert torch.equal(weights_of(resumed)[name], value), name


def test_a_search_that_learns_leaves_its_own_supernet_and_resumes_to_the_same_bytes(
    world: Any, tmp_path: Path
) -> None:
    params = tmp_path / "params.yaml"
    text = (world.root / "params.yaml").read_text()
    learn = "weights: {learn: true, batch: 16}, candidates: 5"
    params.write_text(text.replace("steps: 30", "steps: 12").replace("candidates: 5", learn))
    flags = {name: world.flags("search", tmp_path / name, params=params) for name in "ab"}
    run(flags["a"])
    state = tmp_path / ".b.partial" / "state.pt"
    assert world.kill_after("search", flags["b"], state.is_file) == -9
    run(flags["b"])
    for file in (SUPERNET_FILE, "candidates.json", "history.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    shared = world.root / "supernet"
    own = SearchedWeights.read(tmp_path / "a").file
    assert own is not None
    assert own.read_bytes() != (shared / "supernet.safetensors").read_bytes()
    load_into(Supernet(world.space), own)
    run(world.flags("search", tmp_path / "a"))
    assert SearchedWeights.read(tmp_path / "a").file is None


def test_only_what_samples_from_a_distribution_can_teach_the_supernet(
    params: Callable[..., SearchParams],
) -> None:
    section = params().model_dump() | {"algorithm": "random", "weights": {"learn": True}}
    with pytest.raises(ParamsError, match=r"weights\.learn is for fp_nas and parsec"):
        bind(section, "search", SearchParams)
