"""A small prepared data set and typed artifacts, for the tests of stages."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from core.files import write_array
from data.dataset import Augment, DatasetInfo, images_file, labels_file
from models.search.algorithms import ALGORITHMS
from models.search.candidates import Candidate, Candidates
from models.search.problem import Scores
from models.search.rank.result import Chosen, RankedNetwork, Ranking
from models.search.settings import SearchParams
from models.space.architecture import Architecture
from models.space.distribution import Choices


def each(excess: Callable[[Choices], float]) -> Scores:
    """The excess of many architectures from that of one."""
    return lambda rows: np.array([excess(tuple(row)) for row in rows.tolist()], dtype=np.float64)


def search_params(algorithm: str, usual: Mapping[str, object], **changes: object) -> SearchParams:
    """The section `search` for an algorithm: `changes`, and of `usual` what it has."""
    given, own = {**usual, **changes}, ALGORITHMS[algorithm].settings_type.model_fields
    assert changes.keys() <= own.keys() | SearchParams.model_fields.keys()
    shared = {key: value for key, value in given.items() if key in SearchParams.model_fields}
    named = {key: value for key, value in given.items() if key in own} | {"name": algorithm}
    return SearchParams.model_validate(shared | {"algorithm": named})


BOUNDS = {"train": (0, 1200), "val": (1200, 1500), "test": (1500, 1797)}


def write_digits(folder: Path, zoom: int, std: float, shift: int) -> None:
    """Write scikit-learn's digits as a prepared data set of `8 * zoom` pixels."""
    digits = load_digits()
    images_NHWC = np.kron(digits.images, np.ones((1, zoom, zoom)))[..., None] * 15.9
    images_NHWC = images_NHWC.astype(np.uint8)
    for name, (start, stop) in BOUNDS.items():
        write_array(folder / images_file(name), images_NHWC[start:stop])  # type: ignore[arg-type]
        labels_N = digits.target[start:stop].astype(np.int64)
        write_array(folder / labels_file(name), labels_N)  # type: ignore[arg-type]
    DatasetInfo(
        name="digits",
        image_shape=(1, 8 * zoom, 8 * zoom),
        classes=tuple(str(digit) for digit in range(10)),
        mean=(0.3,),
        std=(std,),
        counts={},
        augment=Augment(flip=False, shift=shift),
        fit="pad",
        source={},
        arrays={},
    ).write(folder)


def candidates_of(architectures: Sequence[Architecture]) -> Candidates:
    """A search's output with these architectures, of which the first costs least."""
    return Candidates(
        algorithm="random",
        space="tiny",
        left_out=(),
        candidates=tuple(
            Candidate(
                architecture=architecture,
                architecture_id=architecture.id,
                log_probability=None,
                costs={"flops": index},
            )
            for index, architecture in enumerate(architectures)
        ),
        latency_margin=None,
        sampled_architectures=len(architectures),
    )


def ranking_of(candidates: Candidates) -> Ranking:
    """A ranking in the candidates' order."""
    best = candidates.candidates[0]
    return Ranking(
        chosen=Chosen(architecture=best.architecture, architecture_id=best.architecture_id),
        indicator="supernet_accuracy",
        aggregate=(),
        ranked=tuple(
            RankedNetwork(
                architecture_id=one.architecture_id,
                short=one.architecture.short(),
                scores={},
                costs=one.costs,
            )
            for one in candidates.candidates
        ),
    )


def kill_after(stage: str, flags: Sequence[str], saved: Callable[[], bool]) -> int:
    """Start a stage in its own process, and kill it with -9 once `saved` holds."""
    process = subprocess.Popen([sys.executable, "-m", "stages", stage, *flags])
    deadline = time.monotonic() + 120
    while not saved() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    return process.wait()
