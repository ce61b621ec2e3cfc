import hashlib
import io
import itertools
import shutil

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from bundles.read import read_bundle
from bundles.release import STYLE, draw, figure_of
from bundles.summary import BundleSummary
from core.files import FileFormatError, read_json
from tests.summaries import bundle_summary

ENTRY = {
    "architecture",
    "architecture_id",
    "precision",
    "accuracy",
    "latency_ms",
    "size_bytes",
    "bundle",
    "sha256",
    "passed",
    "reasons",
    "undecided",
    "quality",
}
LATENCY = {"predicted", "measured", "interval", "budget", "share"}


@pytest.fixture(scope="session")
def released(world, bundles):
    return world.release(world.root / "release")


def test_the_index_has_every_device_exactly_as_in_the_contract(world, bundles, released):
    found = read_json(released / "release.json", "netwright/release/1")
    assert set(found) == {"schema", "devices"}
    assert set(found["devices"]) == {"cpu", "edge", "gpu", "dsp", "phone"}
    for name, entry in found["devices"].items():
        assert set(entry) == ENTRY
        assert set(entry["accuracy"]) == {"float32", "int8", "delivered"}
        assert set(entry["latency_ms"]) == LATENCY
        assert entry["bundle"] == bundles[name].as_posix()
        assert entry["sha256"] == hashlib.sha256(bundles[name].read_bytes()).hexdigest()
        assert entry["size_bytes"] == bundles[name].stat().st_size
        assert isinstance(entry["reasons"], list)


def test_a_measured_latency_is_the_delivered_files_and_an_unmeasured_one_is_null(world, released):
    devices = read_json(released / "release.json", "netwright/release/1")["devices"]
    export = read_json(world.root / "export" / "cpu" / "export.json", "netwright/export/1")
    cpu, gpu = (devices[name]["latency_ms"] for name in ("cpu", "gpu"))
    assert cpu["measured"] == export["measured_ms"]
    assert cpu["interval"] == export["interval"]
    assert cpu["interval"][0] <= cpu["measured"] <= cpu["interval"][1]
    assert gpu["measured"] is gpu["interval"] is None


def test_a_share_of_latency_is_milliseconds_in_the_index_and_in_the_manifest(bundles, released):
    devices = read_json(released / "release.json", "netwright/release/1")["devices"]
    assert (devices["cpu"]["latency_ms"]["budget"], devices["cpu"]["latency_ms"]["share"]) == (
        50.0,
        0.5,
    )
    assert devices["edge"]["latency_ms"]["share"] is None
    bundle = read_bundle(bundles["cpu"])
    budget, latency = bundle.manifest.device.budget, bundle.manifest.latency_ms
    assert (budget.latency_ms, budget.latency_share) == (50.0, None)
    assert (latency.budget, latency.share) == (50.0, 0.5)
    card = bundle.files["MODEL_CARD.md"].decode()
    assert "| 50 ms (0.5 of the largest network's) |" in card
    low, high = latency.interval
    assert f"{latency.measured:.4g} ms ({low:.4g} to {high:.4g})" in card


def test_a_bundle_that_failed_its_gate_is_listed_and_does_not_fail_the_stage(released):
    devices = read_json(released / "release.json", "netwright/release/1")["devices"]
    assert [devices[name]["passed"] for name in ("cpu", "edge", "gpu", "dsp")] == [
        True,
        True,
        False,
        True,
    ]
    assert devices["gpu"]["reasons"]


def test_the_same_bundles_give_the_same_index_and_plot(world, released, tmp_path):
    again = world.release(tmp_path / "again")
    for name in ("release.json", "pareto.png"):
        assert (again / name).read_bytes() == (released / name).read_bytes()
    with Image.open(released / "pareto.png") as picture:
        assert picture.width > 800


def test_a_device_without_a_bundle_is_named(world, bundles, tmp_path):
    other = type(world)(tmp_path / "world")
    shutil.copytree(world.root, other.root)
    shutil.rmtree(other.root / "bundle" / "edge")
    with pytest.raises(FileFormatError, match=r"device 'edge' has no bundle.*bundle@edge"):
        other.release(tmp_path / "out")


def test_an_archive_that_is_not_the_one_described_is_refused(world, bundles, tmp_path):
    other = type(world)(tmp_path / "world")
    shutil.copytree(world.root, other.root)
    archive = other.root / "bundle" / "cpu" / "cpu.tar.gz"
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(FileFormatError, match=r"cpu\.tar\.gz is missing or is not the archive"):
        other.release(tmp_path / "out")


@pytest.mark.parametrize("shown", [(), ("cpu",), ("gpu",), ("cpu", "edge", "gpu")])
def test_the_plot_can_be_drawn_for_any_mix_of_devices(world, bundles, shown):
    summaries = {name: BundleSummary.read(world.root / "bundle" / name) for name in shown}
    with Image.open(io.BytesIO(draw(summaries))) as picture:
        assert picture.format == "PNG"


def summary(name: str, number: int, measured: bool = True) -> BundleSummary:
    """A device close to the others in latency and accuracy."""
    accuracy, ms = 0.9 + 0.004 * (number % 4), 3.0 + 0.3 * number if measured else None
    return bundle_summary(
        name,
        accuracy={"float32": accuracy, "int8": None, "delivered": accuracy},
        latency_ms={"predicted": None, "measured": ms, "budget": ms},
        costs={"flops": 1_000_000 + number, "parameters": 1},
        budget={"latency_ms": ms + 0.1} if ms is not None else {"flops": 2_000_000},
        passed=number % 3 > 0,
    )


@pytest.mark.parametrize("count", [1, 10])
def test_the_legend_names_every_device_and_covers_neither_panels_nor_other_entries(count):
    names = [f"a-device-with-a-long-name-{number}" for number in range(count)]
    rows = {name: summary(name, n, measured=n % 4 > 0) for n, name in enumerate(names)}
    with mpl.rc_context(STYLE):
        figure = figure_of(rows)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (legend,) = figure.legends
        texts = [text.get_text() for text in legend.get_texts()]
        for number, (name, row) in enumerate(rows.items(), start=1):
            held = ", held back" if not row.passed else ""
            (label,) = (text for text in texts if text.startswith(f"{number}  {name}: "))
            assert label.endswith(held)
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in legend.get_texts()]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        box = legend.get_window_extent(canvas.get_renderer())
        assert not any(
            axes.get_tightbbox(canvas.get_renderer()).overlaps(box) for axes in figure.axes
        )
        drawn = {text.get_text() for axes in figure.axes for text in axes.texts}
        shown = sorted(int(number) for text in drawn for number in text.split(", "))
        assert shown == list(range(1, count + 1))
