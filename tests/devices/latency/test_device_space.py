"""Search spaces of devices that run int8."""

from typing import Any

import pytest

from devices.device import Budget, Device, DeviceError
from devices.latency.device_space import check_allowed, device_space
from models.space.file import PRESETS, read_spec
from models.space.limits import InfeasibleBudgetError
from models.space.space import SearchSpace
from models.space.spec import SpaceSpec
from pipelines.checks.budgets import Setting, check_budget
from pipelines.checks.preflight import check_device
from pipelines.show.budget_table import budget_rows
from pipelines.show.doctor_table import devices_table, space_notes
from tests.spaces import suits_int8

FBNET = read_spec(PRESETS / "fbnet.yaml")
GATE = {"operator": "mbconv", "kernel": [3], "expansion": [1], "squeeze_excite": [1]}


def device(**changes: Any) -> Device:
    given: dict[str, Any] = {
        "backend": "onnxruntime", "precision": "int8", "budget": Budget(flops=10**12),
        "min_accuracy": 0.0,
    }  # fmt: skip
    return Device(**given | changes)


def space(spec: SpaceSpec = FBNET) -> SearchSpace:
    return SearchSpace(spec, (3, 224, 224), 10)


def with_first_stage(operators: dict[str, Any]) -> SearchSpace:
    content = FBNET.model_dump(exclude_unset=True)
    content["stages"][0]["operators"] = operators
    return space(SpaceSpec.model_validate(content))


def test_a_device_that_runs_int8_is_searched_without_what_int8_does_badly() -> None:
    whole = space()
    own = device_space(whole, "dsp", device())
    assert own.space.name == "fbnet for int8"
    searched = [block for position in own.space.possible()[2:-1] for block in position]
    assert all(suits_int8(block) for block in searched)
    for wide, narrow in zip(whole.possible(), own.space.possible(), strict=True):
        assert set(narrow) <= set(wide)
    assert "stages.3.operators.split_attention_mbconv" in own.left_out
    first, second = own.remarks
    assert "'dsp' runs int8" in first
    assert "excludes hard_swish, split_attention_mbconv, squeeze_excite" in first
    assert "devices.dsp.allow" in first
    assert "stem: activation hard_swish; head: activation hard_swish" in second


def test_wide_remains_rich_for_int8() -> None:
    whole = SearchSpace(read_spec(PRESETS / "wide.yaml"), (3, 32, 32), 10)
    own = device_space(whole, "dsp", device())
    assert own.left_out == tuple(f"stages.{n}.operators.excited" for n in (1, 2, 3))
    assert len(own.remarks) == 1
    assert own.space.groups[0] == whole.groups[0]
    assert own.space.count() > 1e17
    kept = {block.options["kernel"] for block in own.space.blocks() if "kernel" in block.options}
    assert kept == {3, 5, 7}
    assert len(own.space.blocks()) > 0.75 * len(whole.blocks())
    assert all(suits_int8(block) for block in own.space.blocks())


@pytest.mark.parametrize(
    "settings",
    [{"precision": "auto"}, {"precision": "float32"}, {"precision": "auto", "backend": "tensorrt"}],
)
def test_a_device_that_may_run_float32_keeps_the_whole_space(settings: dict[str, Any]) -> None:
    whole = space()
    own = device_space(whole, "cpu", device(**settings))
    assert own.space is whole
    assert (own.left_out, own.remarks) == ((), ())


def test_a_runtime_whose_default_is_int8_narrows_with_auto_too() -> None:
    assert device_space(space(), "dsp", device(backend="qnn", precision="auto")).left_out
    assert not device_space(space(), "dsp", device(backend="qnn", precision="float16")).left_out


def test_what_the_owner_allows_stays() -> None:
    own = device_space(space(), "dsp", device(allow=["hard_swish"]))
    assert not any("hard_swish" in place for place in own.left_out)
    assert own.remarks[0].count("hard_swish") == 0
    assert len(own.remarks) == 1, "a stem of hard-swish is allowed as well"
    names = ["hard_swish", "squeeze_excite", "split_attention_mbconv"]
    whole = space()
    assert device_space(whole, "dsp", device(allow=names)).space is whole


@pytest.mark.parametrize("preset", ["compact", "macro", "bn-nas", "fox"])
def test_a_space_without_them_stays_whole_and_nothing_is_said(preset: str) -> None:
    spec = read_spec(PRESETS / f"{preset}.yaml")
    whole = SearchSpace(spec, (3, spec.shown_images.size, spec.shown_images.size), 10)
    own = device_space(whole, "dsp", device())
    assert own.space is whole
    assert (own.left_out, own.remarks) == ((), ())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"allow": ["squeeze_excitation"]}, r"'squeeze_excitation'.*Did you mean 'squeeze_excite'"),
        ({"allow": ["mbconv"]}, r"nothing called 'mbconv' .*Known: hard_swish, silu, split_att"),
        ({"allow": ["silu", "silu"]}, r"'silu' is listed twice"),
        ({"allow": ["silu"], "precision": "auto"}, r"nothing is excluded .*set precision: int8"),
    ],
)
def test_a_name_that_allows_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        check_allowed(device(**settings))
    with pytest.raises(DeviceError, match=message):
        check_device(device(**settings))
    with pytest.raises(DeviceError, match=rf"devices\.dsp\.allow: .*{message}"):
        device_space(space(), "dsp", device(**settings))


def test_a_stage_of_which_nothing_is_left_is_an_error_before_anything_starts() -> None:
    gated = with_first_stage({"gated": GATE})
    message = (
        r"devices\.dsp runs int8: .*stages\.0\.operators: none of gated is suitable for int8"
        r".*devices\.dsp\.allow: \[hard_swish, split_attention_mbconv, squeeze_excite\]"
    )
    with pytest.raises(DeviceError, match=message):
        check_budget("dsp", device(), Setting(gated, {}))
    found = {"dsp": budget_rows("dsp", device(), Setting(gated, {}))}
    assert (found["dsp"][0], len(found["dsp"][1])) == ([], 1)
    assert devices_table({"dsp": device()}, found).row_count == 1
    assert space_notes({"dsp": device()}, Setting(gated, {})) == []
    check_budget("dsp", device(allow=["squeeze_excite"]), Setting(gated, {}))


def test_budgets_are_judged_on_what_is_left() -> None:
    """The network with the fewest FLOPs has squeeze-excite and is excluded for the device."""
    cheap = GATE | {"expansion": [1]}
    dear = {"operator": "mbconv", "kernel": [5], "expansion": [6]}
    setting = Setting(with_first_stage({"cheap": cheap, "dear": dear}), {})
    least = {
        p: budget_rows("x", device(precision=p), setting)[0][0].smallest for p in ("auto", "int8")
    }
    assert least["auto"] is not None
    assert least["int8"] is not None
    assert least["auto"] < least["int8"]
    budget = Budget(flops=int(least["auto"]))
    check_budget("x", device(precision="auto", budget=budget), setting)
    with pytest.raises(InfeasibleBudgetError, match="space 'fbnet for int8' keeps flops"):
        check_budget("x", device(budget=budget), setting)


def test_the_doctor_tells_what_is_left_out() -> None:
    said = space_notes({"dsp": device(), "cpu": device(precision="auto")}, Setting(space(), {}))
    assert len(said) == 2
    assert "'dsp' runs int8" in said[0]
