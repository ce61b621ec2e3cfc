"""One suite over every operator of the table and every backend of the table.

One network per operator, with all setting values and changes of shape. It is exported, quantised
for the backend, built in every offered precision, and compared with PyTorch if the backend can run
on this machine. A backend whose builds take long builds one network with all operators instead.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from devices.device import Activations
from devices.quantize.static import quantize_static, to_float16
from devices.runtimes.base import Backend
from devices.runtimes.registry import BACKENDS, backend
from models.nets.evaluate import recalibrate
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet
from models.space.architecture import Architecture, Block
from models.space.operators import OPERATORS, canonical, cells
from tests.conformance.test_backends import device_for

FAMILIES = tuple(sorted({runtime.activations for runtime in BACKENDS.values()}))
SIZE, CLASSES, STEPS, COUNT = 16, 10, 20, 16
CHANNELS = (8, 8, 12, 8)
"""Widths of consecutive layers: equal, wider, narrower."""
LEAST_AGREEMENT = {"float32": 0.99999, "float16": 0.999, "int8": 0.99}
"""Correlation, over images, of a built network's logits with PyTorch's."""
Images = list[npt.NDArray[np.float32]]
ALL = "all operators"
SLOW_BUILDS = ("executorch",)


def variants(operator: str) -> list[dict[str, object]]:
    """Settings that cover all values of every setting, except long numeric ranges."""
    table = OPERATORS[operator].settings
    if operator == "resize":
        return [{"to": 24}, {"to": 12}]
    if operator == "classifier":  # only one fits into a network, and all others' have relu
        return [{"width": 16, "activation": "hard_swish"}]
    count = max([4, *map(len, table.values())])
    return [{name: v[i % len(v)] for name, v in table.items()} for i in range(count)]


def network_of(operator: str) -> Architecture:
    """A small network in which the operator has all its variants."""
    layers: list[Block] = []
    size = SIZE
    if operator == ALL:
        size = 12
        for name, kind in OPERATORS.items():
            if kind.place == "layer":
                options = canonical(name, variants(name)[1])  # type: ignore[arg-type]
                layers.append(Block(name, CHANNELS[0], CHANNELS[0], size, 1, options))
        resize = Block("resize", 1, 1, SIZE, 1, (("to", size),))
        return Architecture((resize, *around(layers, size)))
    wanted = [canonical(operator, v) for v in variants(operator)]  # type: ignore[arg-type]
    if operator == "resize":
        for options in wanted:
            layers.append(Block(operator, 1, 1, size, 1, options))
            size = layers[-1].out_size
        return Architecture((*layers, *around([], size)))
    if operator == "classifier":
        return Architecture((around([], size)[0], Block(operator, 8, CLASSES, size, 1, wanted[0])))
    widths = itertools.cycle(itertools.pairwise((*CHANNELS, CHANNELS[0])))
    for number, (options, (before, after)) in enumerate(zip(wanted, widths, strict=False)):
        layers.append(Block(operator, before, after, size, 2 if number == 1 else 1, options))
        size = layers[-1].out_size
    return Architecture(tuple(around(layers, SIZE)))


def around(layers: list[Block], size: int) -> list[Block]:
    """The layers between a stem and a head."""
    stem = Block("conv", 1, CHANNELS[0], size, 1, (("kernel", 3),))
    last = [stem, *layers][-1]
    head = Block("classifier", last.out_channels, CLASSES, last.out_size, 1, (("width", 16),))
    return [stem, *layers, head]


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised digits (N, 1, SIZE, SIZE) and their labels."""
    found = load_digits()
    images_NHW = torch.tensor(found.images, dtype=torch.float32) / 8 - 1
    return functional.interpolate(images_NHW[:, None], (SIZE, SIZE)), torch.tensor(found.target)


def trained(architecture: Architecture) -> Subnet:
    """A briefly trained network: logits of an untrained one hardly depend on the image."""
    generator = torch.Generator().manual_seed(0)
    network = Subnet(architecture, generator).train()
    images_NCHW, labels_N = digits()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(STEPS):
        chosen = torch.randint(len(labels_N), (32,), generator=generator)
        optimizer.zero_grad()
        functional.cross_entropy(network(images_NCHW[chosen]), labels_N[chosen]).backward()
        optimizer.step()
    recalibrate(network, [images_NCHW[:128]])
    return network.eval()


@pytest.fixture(scope="module")
def images() -> Images:
    return [image_CHW[None].numpy() for image_CHW in digits()[0][:COUNT]]


@dataclass(frozen=True)
class Exported:
    """One operator's network: its files in every precision and family, and its logits."""

    operator: str
    network: Architecture
    folder: Path
    logits_NK: npt.NDArray[np.float32]


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=pytest.mark.slow) for n in (*OPERATORS, ALL)]
)
def exported(
    request: pytest.FixtureRequest, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    architecture, folder = network_of(request.param), tmp_path_factory.mktemp(request.param)
    network = trained(architecture)
    (folder / "float32.onnx").write_bytes(to_onnx(network, (1, SIZE, SIZE)))
    to_float16(folder / "float32.onnx", folder / "float16.onnx")
    for family in FAMILIES:
        quantize_static(folder / "float32.onnx", folder / f"{family}.onnx", images, family)
    with torch.no_grad():
        logits_NK = network(torch.from_numpy(np.concatenate(images))).numpy()
    return Exported(request.param, architecture, folder, logits_NK)


def agreement(one_NK: npt.NDArray[np.float32], other_NK: npt.NDArray[np.float32]) -> float:
    """Correlation of logits centred over images."""
    centred = [rows_NK - rows_NK.mean(0) for rows_NK in (one_NK, other_NK)]
    return float(np.corrcoef(*(rows.ravel() for rows in centred))[0, 1])


def outputs(runtime: Backend, file: Path, images: Images) -> npt.NDArray[np.float32]:
    with runtime.open(file, threads=1) as session:
        return np.concatenate([session(image) for image in images])


def test_the_networks_hold_every_value_of_every_setting() -> None:
    for operator, kind in OPERATORS.items():
        if kind.place != "layer":
            continue
        found = [b for b in network_of(operator).present if b.operator == operator]
        for name, values in kind.settings.items():
            assert {kind.setting(b, name) for b in found} == set(values), (operator, name)
        assert {b.stride for b in found} == {1, 2}
        orders = {int(np.sign(b.out_channels - b.in_channels)) for b in found}
        assert orders == {-1, 0, 1}, operator


@pytest.mark.parametrize("runtime", BACKENDS.values(), ids=list(BACKENDS))
def test_every_operator_builds_in_every_supported_backend(
    runtime: Backend, exported: Exported, images: Images, tmp_path: Path
) -> None:
    here, device = runtime.capabilities(), device_for(runtime)
    if not here.can_build:
        pytest.skip(here.reason)
    if (runtime.name in SLOW_BUILDS) != (exported.operator == ALL):
        pytest.skip("only a backend whose builds take long builds one network with all operators")
    for precision in runtime.native_precisions:
        file = f"{runtime.activations if precision == 'int8' else precision}.onnx"
        model, out = exported.folder / file, tmp_path / precision
        out.mkdir()
        built = runtime.build(model, precision, out, device)
        if here.can_run:
            found_NK = outputs(runtime, out / built.entry, images)
            assert agreement(found_NK, exported.logits_NK) > LEAST_AGREEMENT[precision], precision


@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator_keeps_its_logits_in_int8_of_every_family(
    exported: Exported, images: Images, family: Activations
) -> None:
    """On ONNX Runtime, which runs files of all families."""
    found_NK = outputs(backend("onnxruntime"), exported.folder / f"{family}.onnx", images)
    assert exported.logits_NK.std(0).min() > 0
    assert agreement(found_NK, exported.logits_NK) > LEAST_AGREEMENT["int8"]


def test_every_block_runs_alone_as_a_profile_measures_it(
    exported: Exported, tmp_path: Path
) -> None:
    for number, block in enumerate(exported.network.present):
        file, module = tmp_path / f"{number}.onnx", Subnet(Architecture((block,))).eval()
        shape = (block.in_channels, block.size, block.size)
        file.write_bytes(to_onnx(module, shape))
        x_1CHW = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
        with torch.no_grad():
            expected = module(torch.from_numpy(x_1CHW)).numpy()
        # Only blocks without weights: compiling all for OpenVINO takes long.
        for name in ("onnxruntime", "openvino") if not cells(block) else ("onnxruntime",):
            with backend(name).open(file, threads=1) as session:
                np.testing.assert_allclose(session(x_1CHW), expected, rtol=1e-3, atol=1e-4)
