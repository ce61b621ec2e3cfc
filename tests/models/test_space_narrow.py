import numpy as np
import pytest

from models.operators import quantization_friendly as suits_int8
from models.space import SearchSpace, SpaceError
from models.space_file import PRESETS, read_spec
from models.space_narrow import quantization_friendly
from models.space_spec import SpaceSpec

FBNET = read_spec(PRESETS / "fbnet.yaml")
FOX = read_spec(PRESETS / "fox.yaml")


def space(spec: SpaceSpec) -> SearchSpace:
    return SearchSpace(spec, (3, 224, 224), 10)


def with_operators(operators: dict) -> SpaceSpec:
    """Fox with other operators in its first stage."""
    content = FOX.model_dump(exclude_unset=True)
    content["stages"][0]["operators"] = operators
    return SpaceSpec.model_validate(content)


def test_what_suits_int8_stays_as_it_is() -> None:
    assert quantization_friendly(FOX) == FOX
    assert space(quantization_friendly(FOX)).groups == space(FOX).groups


def test_a_narrowed_space_has_friendly_blocks_alone() -> None:
    narrow = space(quantization_friendly(FBNET))
    assert all(suits_int8(block) for block in narrow.blocks())
    assert not all(suits_int8(block) for block in space(FBNET).blocks())
    assert 10**20 < narrow.count() < space(FBNET).count()


def test_only_what_does_not_suit_is_taken_out() -> None:
    wide, narrow = (space(spec).possible() for spec in (FBNET, quantization_friendly(FBNET)))
    for before, after in zip(wide[2:-1], narrow[2:-1], strict=True):
        assert set(after) == {block for block in before if suits_int8(block)}


def test_networks_of_a_narrowed_space_are_networks_of_the_space() -> None:
    spec = with_operators(
        {"mbconv": {"kernel": [3, 5], "expansion": [6], "squeeze_excite": [0, 1]}}
    )
    wide, narrow = space(spec), space(quantization_friendly(spec))
    rng = np.random.default_rng(0)
    for _ in range(20):
        architecture = narrow.sample(rng)
        assert wide.from_index(wide.index(architecture)).id == architecture.id


def test_a_fixed_activation_goes_back_to_its_default() -> None:
    narrow = quantization_friendly(FBNET)
    assert narrow.stem.settings == {"kernel": 3}
    assert narrow.head.settings == {"width": 1984}


def test_the_owner_may_allow_an_activation_a_setting_or_an_operator() -> None:
    def variables(*allow: str) -> dict[str, tuple]:
        groups = space(quantization_friendly(FBNET, allow)).groups
        return {v.name: v.options for g in groups for v in g.variables}

    assert variables()["mbconv.activation"] == ("relu",)
    assert variables("hard_swish")["mbconv.activation"] == ("relu", "hard_swish")
    assert "split_attention_mbconv.splits" not in variables("hard_swish", "squeeze_excite")
    assert variables("split_attention_mbconv")["split_attention_mbconv.splits"] == (1, 2, 4)
    stage = quantization_friendly(FBNET, ["squeeze_excite"]).stages[1]
    assert stage.operators["mbconv"].settings["squeeze_excite"] == [0, 1]
    everything = ["split_attention_mbconv", "hard_swish", "squeeze_excite"]
    assert space(quantization_friendly(FBNET, everything)).groups == space(FBNET).groups


def test_a_stage_that_would_keep_no_operator_is_refused() -> None:
    spec = with_operators(
        {"gated": {"operator": "mbconv", "kernel": [3], "expansion": [6], "squeeze_excite": [1]}}
    )
    with pytest.raises(SpaceError, match=r"stages\.0\.operators: nothing of gated suits int8"):
        quantization_friendly(spec)
    assert quantization_friendly(spec, ["squeeze_excite"]) == spec
