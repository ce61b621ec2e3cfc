"""Write `MODEL_CARD.md`: purpose, quality, latency, limits and provenance of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bundles.build.ledger import MILLISECONDS
from bundles.build.results import Results
from bundles.gate import MEGABYTE, check_latency
from data.dataset import DatasetInfo
from models.space.architecture import Block


def model_card(content: Mapping[str, Any], info: DatasetInfo, results: Results) -> str:
    """Return the model card as Markdown.

    Args:
        content: content of the manifest; see `content.manifest_content`.
        info: the data set.
        results: results of the previous stages.
    """
    parts = [
        f"# {content['name']}: {info.name}, {len(info.classes)} classes",
        _what(content, info),
        "## Use\n\n" + _use(content),
        "## Quality\n\n" + _quality(content, info),
        "## Speed and size\n\n" + _speed(content),
        "## Predicted and measured\n\n" + _ledger(content, results),
        "## Forms tried\n\n" + _candidates(content),
        "## Architecture\n\n" + _architecture(content, results),
        "## The same network at every step\n\n" + _chain(content),
        "## Limits\n\n" + _limits(content),
        "## Provenance\n\n" + _provenance(content),
    ]
    return "\n\n".join(parts) + "\n"


def _what(content: Mapping[str, Any], info: DatasetInfo) -> str:
    channels, height, width = info.image_shape
    colour = {1: "grey", 3: "RGB"}[channels]
    device = content["device"]
    threads, gpus, dsps = (
        device[key] for key in ("threads", "compute_capabilities", "dsp_architectures")
    )
    place = f"{threads} thread{'s' * (threads > 1)} of a processor"
    if device["openvino_device"] != "CPU":
        place = f"its {device['openvino_device']}"
    if gpus:
        place = f"a GPU of {' or '.join(gpus)}"
    if dsps:
        place = f"a Hexagon DSP of {' or '.join(dsps)}"
    return (
        f"An image classifier for `{content['name']}`: {content['precision']}, run by "
        f"{content['model']['runtime']} on {place}. It reads one "
        f"{height} x {width} {colour} image and tells {len(info.classes)} classes apart: "
        f"{', '.join(info.classes)}."
    )


def _use(content: Mapping[str, Any]) -> str:
    return (
        f"`python run.py` checks the {content['golden']['images']} golden outputs; "
        "`python run.py image.npy` classifies. It needs NumPy and "
        f"{content['model']['runtime']} alone. `preprocess.json` says how pixels become inputs. "
        f"`{content['model']['portable']}` is the same network for any ONNX runtime."
    )


def _quality(content: Mapping[str, Any], info: DatasetInfo) -> str:
    accuracy = content["accuracy"]
    rows = [
        ["delivered", _number(accuracy["delivered"]), _number(content["device"]["min_accuracy"])],
        ["float32", _number(accuracy["float32"]), ""],
        ["int8", _number(accuracy["int8"]), ""],
    ]
    test = sum(info.counts["test"].values())
    train = sum(info.counts["train"].values())
    return (
        _table(["form", "top-1", "asked for"], rows)
        + f"\n\nOn the {test:,} images of the test split, which took no part in any choice; "
        f"trained on {train:,}. `delivered` was measured on {accuracy['measured_on']}."
    )


def _speed(content: Mapping[str, Any]) -> str:
    latency, budget = content["latency_ms"], content["device"]["budget"]
    costs, size = content["costs"], budget["size_mb"]
    rows = [
        ["latency, predicted", _number(latency["predicted"], " ms", "not predicted"), ""],
        [
            "latency, measured",
            _number(latency["measured"], " ms") + _interval(latency["interval"]),
            _number(latency["budget"], " ms", "no limit") + _share(latency["share"]),
        ],
        ["FLOPs", f"{costs['flops']:,}", _number(budget["flops"], "", "no limit")],
        ["parameters", f"{costs['parameters']:,}", _number(budget["parameters"], "", "no limit")],
        ["bundle size", "see the archive", _number(size, " MB", "no limit")],
    ]
    if budget["memory_mb"] is not None:
        memory = _number(costs["memory_mb"], " MB"), _number(budget["memory_mb"], " MB")
        rows.append(["peak activation memory", *memory])
    return (
        _table(["what", "found", "budget"], rows)
        + "\n\nLatency: milliseconds per image at batch 1, median, of the delivered file on the "
        "device's runtime; in brackets its 95% confidence interval. FLOPs: multiply-accumulate "
        "operations per image."
    )


def _ledger(content: Mapping[str, Any], results: Results) -> str:
    rows = []
    for entry in content["ledger"]:
        unit = f" {entry['unit']}" if entry["unit"] == MILLISECONDS else ""
        error, expected = entry["error"], entry["expected_error"]
        rows.append(
            [
                entry["what"],
                _number(entry["predicted"], unit, "not predicted"),
                _number(entry["measured"], unit),
                "" if error is None else f"{error:+.1%}",
                "" if expected is None else f"{expected:.1%}",
            ]
        )
    order = results.certificate.get("statement")
    heads = ["what", "predicted", "measured", "off by", "expected error"]
    return _table(heads, rows) + (
        "\n\nExpected error: mean of the latency model on networks it had not seen. A slice of the "
        "supernet is asked for the order of networks; its accuracy lies below that of a network "
        "with its own training." + (f" {order}" if order else "")
    )


def _candidates(content: Mapping[str, Any]) -> str:
    rows = [
        [
            row["name"] + " (delivered)" * (row["file"] == content["model"]["built_from"]),
            _method(row),
            _number(row["accuracy"]),
            _number(row["val_accuracy"]),
            _number(row["agreement"]),
            _number(row["latency_ms"], " ms"),
            f"{row['size_bytes'] / MEGABYTE:.3f} MB",
            row["rejected"] or "",
        ]
        for row in content["candidates"]
    ]
    heads = ["form", "scales by", "test top-1", "val top-1", "agrees with its source", "latency"]
    heads += ["ONNX size", "rejected"]
    return _table(heads, rows) + f"\n\nChosen: {content['choice'].rstrip('.')}."


def _method(row: Mapping[str, Any]) -> str:
    """Return how a candidate's scales were computed, with the float layer count if mixed."""
    if row["method"] == "qat":
        return f"{row['base_method']}, fine-tuned".replace("_", " ")
    if not row["in_float"]:
        return str(row["method"]).replace("_", " ")
    count = len(row["in_float"])
    return f"{row['base_method']}, {count} layer{'s' * (count > 1)} in float"


def _architecture(content: Mapping[str, Any], results: Results) -> str:
    rows = [[str(i), *_block(block)] for i, block in enumerate(results.architecture.present)]
    return (
        f"`{content['architecture_short']}` (id `{content['architecture_id']}`), "
        f"{results.choice.reason}.\n\n"
        + _table(["block", "operator", "settings", "channels", "input", "stride"], rows)
    )


def _block(block: Block) -> list[str]:
    settings = ", ".join(f"{name} {value}" for name, value in block.settings)
    channels = f"{block.in_channels} to {block.out_channels}"
    return [block.operator, settings, channels, f"{block.size} px", str(block.stride)]


def _chain(content: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{hop['from']} to {hop['to']}",
            _within(hop["max_difference"], "at most", hop["limit"]["max_difference"]),
            _within(hop["agreement"], "at least", hop["limit"]["agreement"]),
            _within(hop["accuracy"], "loss at most", hop["limit"]["accuracy_drop"]),
            f"{hop['images']:,}",
        ]
        for hop in content["hops"]
    ]
    heads = ["hop", "largest logit difference", "same answer", "top-1", "real images"]
    return _table(heads, rows) + (
        "\n\nIn brackets the limits; that of top-1 is the loss against the form before. A hop past "
        "a limit would have stopped the release."
    )


def _within(value: float | None, bound: str, limit: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.4g}" if limit is None else f"{value:.4g} ({bound} {limit:.4g})"


def _limits(content: Mapping[str, Any]) -> str:
    lines = []
    why = content["latency_ms"]["why_not_measured"]
    if why is not None:
        lines.append(f"Latency was not measured: {why}")
    latency = content["latency_ms"]
    if latency["measured"] is not None and latency["budget"] is not None:
        verdict, text = check_latency(latency["measured"], latency["interval"], latency["budget"])
        if verdict == "undecided":
            lines.append(f"Latency {text}.")
    if content["latency_ms"]["predicted"] is None:
        lines.append("Latency was not predicted: the device has no profile of such a file.")
    lines.append(
        f"Golden outputs were computed by {content['golden']['computed_by']}; another processor "
        f"may differ by up to {content['golden']['tolerance']:.3g} per logit."
    )
    for name in content["model"]["not_reproducible"]:
        lines.append(f"`{name}` has other bytes at every build, though the same network.")
    rebuild = content["model"]["details"].get("rebuild")
    if rebuild:
        lines.append(f"Model files: {rebuild}.")
    capabilities = content["model"]["details"].get("compute_capabilities")
    if capabilities:
        version = content["model"]["runtime_version"]
        lines.append(
            f"The engine is for runtime version {version} and the GPU generations "
            f"{', '.join(capabilities)}."
        )
    lines.append(
        "It knows the classes above and no others: whatever it is shown, it answers with one."
    )
    return "\n".join(f"- {line}" for line in lines)


def _provenance(content: Mapping[str, Any]) -> str:
    found = content["provenance"]
    rows = [["params", found["params_sha256"]], [found["dataset"], found["dataset_sha256"]]]
    rows += [[name, value] for name, value in sorted(found["inputs"].items())]
    versions = ", ".join(f"{name} {v}" for name, v in sorted(content["versions"].items()))
    short = [[name, f"`{value[:16]}`"] for name, value in rows]
    return _table(["input", "SHA-256"], short) + (
        f"\n\nMade with {versions}. Equal inputs give the reproducible SHA-256 "
        f"`{content['reproducible_sha256'][:16]}`. The git revision belongs to a run, not to this "
        "content: it stands beside the archive, in its `.provenance.json`. `sbom.cdx.json` lists "
        "the files and the packages that `run.py` needs."
    )


def _number(value: float | None, unit: str = "", absent: str = "not measured") -> str:
    if value is None:
        return absent
    return f"{value:,}{unit}" if isinstance(value, int) else f"{value:.4g}{unit}"


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.4g} to {interval[1]:.4g})"


def _share(share: float | None) -> str:
    return "" if share is None else f" ({share:g} of the largest network's)"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
