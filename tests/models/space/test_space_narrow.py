import numpy as np
import pytest
import torch

from models.nets.supernet import Supernet, extract
from models.space.file import PRESETS, read_spec
from models.space.narrow import (
    allowable,
    quantization_friendly,
    removed_values,
    unfriendly_ends,
    unfriendly_names,
)
from models.space.space import SearchSpace
from models.space.spec import SpaceError, SpaceSpec
from tests.spaces import suits_int8

FBNET = read_spec(PRESETS / "fbnet.yaml")
FOX = read_spec(PRESETS / "fox.yaml")


def space(spec: SpaceSpec) -> SearchSpace:
    return SearchSpace(spec, (3, 224, 224), 10)


def with_operators(operators: dict) -> SpaceSpec:
    """The fox space with other operators in its first stage."""
    content = FOX.model_dump(exclude_unset=True)
    content["stages"][0]["operators"] = operators
    return SpaceSpec.model_validate(content)


def test_what_suits_int8_stays_as_it_is() -> None:
    assert quantization_friendly(FOX) == FOX
    assert space(quantization_friendly(FOX)).groups == space(FOX).groups


def test_a_narrowed_space_has_friendly_blocks_alone() -> None:
    narrow = space(quantization_friendly(FBNET))
    searched = [block for position in narrow.possible()[2:-1] for block in position]
    assert all(suits_int8(block) for block in searched)
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
        assert wide.architecture(wide.choices(architecture)) == architecture


def test_stem_and_head_are_kept_and_reported() -> None:
    narrow = quantization_friendly(FBNET)
    assert (narrow.stem, narrow.head) == (FBNET.stem, FBNET.head)
    assert unfriendly_ends(FBNET) == ("stem: activation hard_swish", "head: activation hard_swish")
    assert unfriendly_ends(FBNET, ["hard_swish"]) == unfriendly_ends(FOX) == ()
    gated = FBNET.model_dump(exclude_unset=True)
    gated["stem"] = {"operator": "split_attention_mbconv", "channels": 16, "stride": 2,
                     "settings": {"kernel": 3, "expansion": 2, "splits": 2}}  # fmt: skip
    spec = SpaceSpec.model_validate(gated)
    assert unfriendly_ends(spec, ["hard_swish"]) == ("stem: operator split_attention_mbconv",)


@pytest.mark.parametrize("weights", ["shared", "private"])
def test_a_network_of_a_narrowed_space_is_a_slice_of_the_whole_spaces_supernet(
    weights: str,
) -> None:
    """Including unfriendly stem and head, and private weights."""
    content = FBNET.model_dump(exclude_unset=True) | {"weights": weights, "resolutions": [96]}
    content["stages"] = content["stages"][:2]
    spec = SpaceSpec.model_validate(content)
    wide = SearchSpace(spec, (1, 96, 96), 4)
    narrow = SearchSpace(quantization_friendly(spec), (1, 96, 96), 4)
    supernet = Supernet(wide, torch.Generator().manual_seed(0)).eval()
    rng = np.random.default_rng(0)
    images_NCHW = torch.randn(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for architecture in (narrow.sample(rng) for _ in range(3)):
            logits_NK = supernet(images_NCHW, architecture)
            alone = extract(supernet, architecture)
            torch.testing.assert_close(alone(images_NCHW), logits_NK)


def test_allowable_names_come_from_operators_and_removed_values_have_keys() -> None:
    assert allowable() == ("hard_swish", "silu", "split_attention_mbconv", "squeeze_excite")
    assert unfriendly_names(FBNET) == ("hard_swish", "split_attention_mbconv", "squeeze_excite")
    assert unfriendly_names(FOX) == ()
    out = removed_values(FBNET, quantization_friendly(FBNET, ["hard_swish"]))
    assert out == (
        "stages.1.operators.mbconv.squeeze_excite: 1",
        "stages.2.operators.mbconv.squeeze_excite: 1",
        *(f"stages.{number}.operators.split_attention_mbconv" for number in (3, 4, 5)),
    )
    assert removed_values(FBNET, FBNET) == ()


@pytest.mark.parametrize("preset", ["compact", "macro", "bn-nas", "fox"])
def test_presets_without_gates_and_hard_swish_stay_whole(preset: str) -> None:
    spec = read_spec(PRESETS / f"{preset}.yaml")
    assert quantization_friendly(spec) == spec
    assert (unfriendly_names(spec), unfriendly_ends(spec)) == ((), ())


def test_the_owner_may_allow_an_activation_a_setting_or_an_operator() -> None:
    def variables(*allow: str) -> dict[str, tuple]:
        groups = space(quantization_friendly(FBNET, allow)).groups
        return {v.name: v.options for g in groups for v in g.variables}

    assert variables()["mbconv.activation"] == ("relu",)
    assert variables("hard_swish")["mbconv.activation"] == ("relu", "hard_swish")
    assert "split_attention_mbconv.splits" not in variables("hard_swish", "squeeze_excite")
    assert variables("split_attention_mbconv")["split_attention_mbconv.splits"] == (1, 2, 4)
    assert variables("split_attention_mbconv")["split_attention_mbconv.activation"] == ("relu",)
    stage = quantization_friendly(FBNET, ["squeeze_excite"]).stages[1]
    assert stage.operators["mbconv"].settings["squeeze_excite"] == [0, 1]
    everything = ["split_attention_mbconv", "hard_swish", "squeeze_excite"]
    assert space(quantization_friendly(FBNET, everything)).groups == space(FBNET).groups


def test_a_stage_that_would_keep_no_operator_is_refused() -> None:
    spec = with_operators(
        {"gated": {"operator": "mbconv", "kernel": [3], "expansion": [6], "squeeze_excite": [1]}}
    )
    with pytest.raises(
        SpaceError, match=r"stages\.0\.operators: none of gated is suitable for int8"
    ):
        quantization_friendly(spec)
    assert quantization_friendly(spec, ["squeeze_excite"]) == spec
