"""Search algorithms on a real supernet: `python -m benchmarks.search`.

For every algorithm and seed: how many architectures it sampled, how many seconds the search took,
what its answer costs, and the test accuracy of that answer after the same final training as every
other's. It reads a finished release's artifacts (data, supernet, teacher, one device's profile).

Searches run one after the other and take turns over the algorithms, so that a drift of the machine
favours none; their seconds are then given as ratios to PARSEC's of the same seed. Every search and
every training is kept in `--work`, and a second run continues there. The same network with the
same seed is trained once, whoever found it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import replace_sections, table
from models.architecture import Architecture
from models.costs import flops
from models.space import SearchSpace
from models.subnet import Subnet
from models.supernet import Supernet, extract
from models.warm_start import shrink_and_perturb
from models.weights import load_into, to_bytes
from stages.common.budgets import read_latency_table
from stages.common.checkpoint import Checkpoint
from stages.common.devices import pick_device
from stages.common.files import fingerprint, rounded, write_json
from stages.common.learning import Images
from stages.common.params import read_section
from stages.common.runtime import prepare_machine
from stages.search.algorithms import ALGORITHMS
from stages.search.loop import answer, problem_of, search
from stages.search.params import SearchParams
from stages.search.problem import bn_indicators
from stages.search.stage import evaluation, kept_budgets
from stages.train.params import TrainParams
from stages.train.stage import objective_of, train_network

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = "netwright/search-benchmark/1"
REFERENCE = "parsec"
PLAIN = ("parsec", "fp_nas", "evolution", "hurricane", "annealing", "random")
"""What is compared unless asked otherwise; `exhaustive` looks at no image and has no samples."""


@dataclass(frozen=True)
class Setting:
    """What all searches share.

    Attributes:
        images: the prepared data set.
        space: the architectures.
        supernet: trained; nobody changes it.
        artifacts: where everything lies.
        params: the file of params.
        device: whose budget is kept.
    """

    images: Images
    space: SearchSpace
    supernet: Supernet
    artifacts: Path
    params: Path
    device: str

    @classmethod
    def open(cls, args: argparse.Namespace) -> Setting:
        """Read a finished release's artifacts."""
        images = Images.open(args.artifacts / "data")
        space = SearchSpace.load(args.space, images.info.image_shape, len(images.info.classes))
        supernet = Supernet(space)
        load_into(supernet, args.artifacts / "supernet" / "supernet.safetensors")
        return cls(images, space, supernet, args.artifacts, args.params, args.device)

    def kept_in(self, work: Path, *values: float) -> Path:
        """The folder of runs with these very inputs; others' runs are never taken for these.

        Args:
            work: where all such folders lie.
            values: settings that count besides.
        """
        read = (
            "data/dataset.json",
            "supernet/supernet.safetensors",
            "teacher/train_logits.npy",
            f"profile/{self.device}/latency.json",
        )
        files = [self.params, *(self.artifacts / name for name in read)]
        folder = work / fingerprint(self.device, self.space.name, values, *files)[:12]
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def searched(setting: Setting, name: str, seed: int) -> dict[str, Any]:
    """One search with the default params: its answer, its samples, its seconds."""
    section = read_section(setting.params, "search", SearchParams)
    params = section.model_copy(update={"algorithm": name, "seed": seed})
    device = pick_device(setting.params, setting.device)
    latency = read_latency_table(setting.artifacts / "profile" / setting.device)
    asked = kept_budgets(setting.space, setting.device, device, latency, params.latency_margin)
    batch = min(params.batch, len(setting.images.val))
    began = time.perf_counter()
    indicators = bn_indicators(setting.supernet, setting.space)
    problem = problem_of(setting.space, asked.limits, batch, indicators)
    algorithm = ALGORITHMS[name](problem, params)
    judge = evaluation(algorithm, setting.supernet, setting.images)
    rows = search(algorithm, setting.space.architecture, judge)
    best = setting.space.architecture(answer(algorithm)[0])
    return {
        "algorithm": name,
        "seed": seed,
        "architecture": best.to_json(),
        "architecture_id": best.id,
        "short": best.short(),
        "flops": flops(best),
        "costs": {limit.key: rounded(limit.cost(best)) for limit in asked.limits},
        "sampled": algorithm.samples,
        "distinct": len({row.architecture_id for row in rows}),
        "seconds": time.perf_counter() - began,
    }


def trained(
    setting: Setting, architecture: Architecture, seed: int, epochs: float, work: Path
) -> dict[str, float]:
    """Test accuracy after the release's final training from the slice, shortened to `epochs`."""
    params = read_section(setting.params, "train", TrainParams)
    network = extract(setting.supernet, architecture)
    shrink_and_perturb(network, params.slice_share, torch.Generator().manual_seed(seed))
    return accuracy_of(setting, network, seed, epochs, work)


def accuracy_of(
    setting: Setting, network: Subnet, seed: int, epochs: float, work: Path
) -> dict[str, float]:
    """Test accuracy after a training from the weights that the network has; resumable."""
    section = read_section(setting.params, "train", TrainParams)
    params = section.model_copy(update={"epochs": epochs, "seed": seed})
    objective = objective_of(params, setting.images, setting.artifacts / "teacher")
    architecture = network.architecture
    known = fingerprint(params.model_dump(), architecture.to_json(), to_bytes(network).hex())
    checkpoint = Checkpoint(work / f"{architecture.id}-{seed}", known)
    train_network(network, setting.images, objective, params, checkpoint)
    checkpoint.clear()
    return {"accuracy": setting.images.accuracy(network, "test")}


def main() -> None:
    args = _flags()
    prepare_machine(args.threads, 0)
    setting = Setting.open(args)
    args.work = setting.kept_in(args.work)
    runs = all_searched(setting, args)
    train_all(setting, runs, args)
    text = report(runs, args)
    print(text)
    if args.json is not None:
        write_json(args.json, SCHEMA, {"runs": runs})
    if args.out is not None:
        replace_sections(args.out, "Search on a real supernet", {"All algorithms": text})


def all_searched(setting: Setting, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Every algorithm with every seed; those that were kept are not repeated."""
    runs = []
    for seed in range(args.seeds):
        for name in args.algorithms:
            runs.append(
                kept(args.work / f"{name}-{seed}.json", partial(searched, setting, name, seed))
            )
            last = runs[-1]
            print(f"{name} seed {seed}: {last['sampled']} sampled, {last['short']}", flush=True)
    return runs


def train_all(setting: Setting, runs: Sequence[dict[str, Any]], args: argparse.Namespace) -> None:
    """Give every run the accuracy of its answer; equal networks of equal seeds share one."""
    for number, run in enumerate(runs):
        network, seed = Architecture.from_json(run["architecture"]), run["seed"]
        file = args.work / f"{network.id}-{seed}-{args.epochs:g}.json"
        run |= kept(file, partial(trained, setting, network, seed, args.epochs, args.work))
        print(f"trained {number + 1} of {len(runs)}: {run['accuracy']:.4f}", flush=True)


def report(runs: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> str:
    """The table, and how FP-NAS stands to PARSEC."""
    by = {name: [run for run in runs if run["algorithm"] == name] for name in args.algorithms}
    rows = [
        [
            name,
            spread_of([run["sampled"] for run in found], 0),
            spread_of([run["distinct"] for run in found], 0),
            spread_of([run["seconds"] for run in found], 1),
            _ratio(found, by.get(REFERENCE), "seconds"),
            spread_of([run["flops"] / 1e6 for run in found], 2),
            spread_of([100 * run["accuracy"] for run in found], 2),
        ]
        for name, found in by.items()
    ]
    head = (
        "algorithm",
        "sampled",
        "distinct",
        "seconds",
        "time over PARSEC",
        "million MACs",
        "test accuracy %",
    )
    seeds = f"{args.seeds} seeds; mean and standard deviation"
    return (
        f"`python -m benchmarks.search --device {args.device} --seeds {args.seeds} "
        f"--epochs {args.epochs:g}`. Budget and profile of `{args.device}`; {seeds}. Every answer "
        f"is trained from its slice for {args.epochs:g} epochs as the stage `train` does.\n\n"
        f"{table(head, rows)}"
    )


def spread_of(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _ratio(
    found: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]] | None, key: str
) -> str:
    """Median over seeds of a number over the reference's of the same seed."""
    if not reference:
        return "-"
    return (
        f"{statistics.median(a[key] / b[key] for a, b in zip(found, reference, strict=True)):.2f}"
    )


def kept(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a JSON file holds; made and written first where there is none."""
    if not file.is_file():
        write_json(file, SCHEMA, make())
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--space", type=Path, default=ROOT / "models" / "spaces" / "compact.yaml")
    parser.add_argument("--device", default="edge-cpu", help="whose budget and profile")
    known = [name for name in PLAIN if name in ALGORITHMS]
    parser.add_argument("--algorithms", type=lambda text: text.split(","), default=known)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=1.0, help="of the final training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path, help="Markdown file whose section is replaced")
    args = parser.parse_args()
    unknown = sorted(set(args.algorithms) - set(ALGORITHMS))
    if unknown:
        parser.error(f"no algorithm {', '.join(unknown)}; there are {', '.join(ALGORITHMS)}")
    return args


if __name__ == "__main__":
    main()
