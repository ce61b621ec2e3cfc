import pytest

from models.space.groups import INACTIVE, Group, layer_group, single, single_steps
from models.space.spec import SpaceSpec

STAGE = {
    "layers": 2,
    "stride": 2,
    "channels": [8],
    "skip": True,
    "operators": {
        "mbconv": {"kernel": [3, 5, 7], "expansion": [1, 3, 6]},
        "fused_mbconv": {"kernel": [3, 5], "expansion": [3, 6], "activation": ["relu", "silu"]},
        "identity": {},
    },
}
SPEC = SpaceSpec.model_validate(
    {
        "name": "steps",
        "sizes": (8, 64),
        "stem": {"operator": "conv", "channels": 8, "stride": 2, "settings": {"kernel": 3}},
        "stages": [STAGE],
        "head": {"operator": "classifier", "settings": {"width": 16}},
    }
)
LAYER = layer_group("stage1.layer2", SPEC.stages[0], optional=True)


def near(group: Group, **values: object) -> list[dict[str, object]]:
    labels = [group.values(number) for number in range(len(group.candidates))]
    here = labels.index({key.replace("_dot_", "."): value for key, value in values.items()})  # type: ignore[arg-type]
    return [dict(labels[number]) for number in single_steps(group)[here]]


def test_numbers_move_to_the_next_option_and_no_farther() -> None:
    group = single("stage1.channels", "channels", (8, 16, 24, 32))
    assert single_steps(group) == ((1,), (0, 2), (1, 3), (2,))
    assert single_steps(single("alone", "channels", (8,))) == ((),)


def test_a_new_operator_keeps_settings_of_the_same_name() -> None:
    found = near(LAYER, operator="mbconv", mbconv_dot_kernel=5, mbconv_dot_expansion=6)
    same = [row for row in found if row["operator"] == "mbconv"]
    assert [(row["mbconv.kernel"], row["mbconv.expansion"]) for row in same] == [
        (3, 6), (5, 3), (7, 6),
    ]  # fmt: skip
    others = [row for row in found if row["operator"] != "mbconv"]
    assert others == [
        {
            "operator": "fused_mbconv",
            "fused_mbconv.kernel": 5,
            "fused_mbconv.expansion": 6,
            "fused_mbconv.activation": "relu",
        },
        {"operator": "identity"},
        {"operator": "skip"},
    ]


def test_settings_that_the_new_operator_has_not_become_its_first() -> None:
    found = near(LAYER, operator="mbconv", mbconv_dot_kernel=7, mbconv_dot_expansion=1)
    fused = next(row for row in found if row["operator"] == "fused_mbconv")
    assert (fused["fused_mbconv.kernel"], fused["fused_mbconv.expansion"]) == (3, 3)


@pytest.mark.parametrize("optional", [True, False])
def test_steps_lead_everywhere_and_never_nowhere(optional: bool) -> None:
    group = layer_group("layer", SPEC.stages[0], optional)
    steps = single_steps(group)
    for start in range(len(group.candidates)):
        assert start not in steps[start]
        reached, ends = {start}, [start]
        while ends:
            ends = [there for here in ends for there in steps[here] if there not in reached]
            reached |= set(ends)
        assert len(reached) == len(group.candidates)


def test_one_step_changes_one_active_variable_by_one() -> None:
    for here, found in enumerate(single_steps(LAYER)):
        row = LAYER.candidates[here]
        for there in found:
            other = LAYER.candidates[there]
            if row[0] != other[0]:  # another operator, to which any order is a step
                continue
            moved = [(a, b) for a, b in zip(row, other, strict=True) if a != b]
            assert len(moved) == 1
            assert abs(moved[0][0] - moved[0][1]) == 1
            assert INACTIVE not in moved[0]
