"""Write `MODEL_CARD.md`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bundles.build.results import Results
from bundles.gate import check_limit
from bundles.manifest import Content
from devices.device import CPU, Device
from devices.quantize.result import QAT, Candidate
from models.quality.record import MANY, SHOWN_THRESHOLDS

TEMPLATE = Path(__file__).with_name("card.md.jinja")


def model_card(content: Content, reproducible: str, results: Results) -> str:
    """Return the model card as Markdown; `reproducible` is the reproducible SHA-256."""
    from jinja2 import Environment, StrictUndefined

    # Markdown, not HTML: nothing is escaped.
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {
        "number": number, "interval": _interval, "within": _within, "method": _method
    }  # fmt: skip
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        m=content,
        results=results,
        quality=results.export.quality,
        shown=SHOWN_THRESHOLDS,
        many=MANY,
        info=results.info,
        budget=content.device.budget,
        unit=_unit(content.device),
        limits=list(_limits(content)),
        reproducible=reproducible,
    )


def number(value: float | None, unit: str = "", absent: str = "not measured") -> str:
    """A number with four significant digits, integers with all; `absent` for None."""
    if value is None:
        return absent
    return f"{value:,}{unit}" if isinstance(value, int) else f"{value:.4g}{unit}"


def _unit(device: Device) -> str:
    if device.dsp_architectures:
        return f"a Hexagon DSP of {' or '.join(device.dsp_architectures)}"
    if device.compute_capabilities:
        return f"a GPU of {' or '.join(device.compute_capabilities)}"
    if device.openvino_device != CPU:
        return f"its {device.openvino_device}"
    return f"{device.threads} thread{'s' * (device.threads > 1)} of a processor"


def _method(row: Candidate) -> str:
    """Return how a candidate's scales were computed, with the float layer count if mixed."""
    if row.method == QAT:
        return f"{row.base_method}, fine-tuned".replace("_", " ")
    if not row.in_float:
        return str(row.method).replace("_", " ")
    count = len(row.in_float)
    return f"{row.base_method}, {count} layer{'s' * (count > 1)} in float"


def _within(value: float | None, bound: str, limit: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.4g}" if limit is None else f"{value:.4g} ({bound} {limit:.4g})"


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.4g} to {interval[1]:.4g})"


def _limits(content: Content) -> Iterator[str]:
    latency, model = content.latency_ms, content.model
    if latency.why_not_measured is not None:
        yield f"Latency was not measured: {latency.why_not_measured}"
    if latency.measured is not None and latency.budget is not None:
        verdict, text = check_limit(latency.measured, latency.budget, "ms", latency.interval)
        if verdict == "undecided":
            yield f"Latency {text}."
    if latency.predicted is None:
        yield "Latency was not predicted: the device's latency model does not cover this file."
    yield (
        f"Golden outputs were computed by {content.golden.computed_by}; on another processor they "
        f"may differ by up to {content.golden.tolerance:.3g} per logit."
    )
    for name in model.not_reproducible:
        yield f"`{name}` has other bytes at every build, though the same network."
    if model.details.get("rebuild"):
        yield f"Model files: {model.details['rebuild']}."
    if capabilities := model.details.get("compute_capabilities"):
        yield (
            f"The engine is for runtime version {model.runtime_version} and the GPU generations "
            f"{', '.join(capabilities)}."
        )
    yield "It predicts one of the classes above for every image, also for images of none of them."
