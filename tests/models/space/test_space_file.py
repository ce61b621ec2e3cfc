"""Every error in a space's file is reported with line, key and rule, all at once."""

from pathlib import Path

import pytest

from models.space.file import read_spec
from models.space.space import SearchSpace
from models.space.spec import SpaceError
from tests.spaces import SPACE_FILE

MISTAKES = {
    "an unknown key": (
        ("weights: shared", "wieghts: shared"),
        (5, "wieghts: unknown key. Did you mean 'weights'?"),
    ),
    "an unknown key of a stage": (
        ("    min_layers: 2", "    min_layer: 2"),
        (10, "stages.0.min_layer: unknown key. Did you mean 'min_layers'?"),
    ),
    "an unknown key of the stem": (
        ("stride: 2, settings", "strides: 2, settings"),
        (6, "stem.strides: unknown key. Did you mean 'stride'?"),
    ),
    "a missing key": (("    stride: 2\n", ""), (8, "stages.0.stride: required, but not given.")),
    "a missing part": (
        ("head: {operator: classifier, settings: {width: 16}}", ""),
        (1, "head: required, but not given."),
    ),
    "too small a number": (
        ("layers: 3", "layers: 0"),
        (8, "stages.0.layers: input should be greater than or equal to 1 (got 0)."),
    ),
    "too large a number": (
        ("    stride: 2", "    stride: 3"),
        (9, "stages.0.stride: input should be less than or equal to 2 (got 3)."),
    ),
    "a string for a number": (
        ("layers: 3", "layers: three"),
        (8, "stages.0.layers: input should be a valid integer (got 'three')."),
    ),
    "a fraction for a number": (
        ("layers: 3", "layers: 3.0"),
        (8, "stages.0.layers: input should be a valid integer (got 3.0)."),
    ),
    "a number for a boolean": (
        ("    min_layers: 2", "    skip: 1"),
        (10, "stages.0.skip: input should be a valid boolean (got 1)."),
    ),
    "a number for a list": (
        ("expansion: [2]", "expansion: 2"),
        (15, "stages.0.operators.mbconv.expansion: needs a list of values, not 2; use one of 1,"),
    ),
    "a list for a mapping": (
        ("      shufflenet_unit: {kernel: [3]}", "      shufflenet_unit: [3]"),
        (17, "stages.0.operators.shufflenet_unit: must be a mapping of settings, not [3]."),
    ),
    "nothing for a mapping": (
        ("identity: {}", "identity: "),
        (19, "stages.1.operators.identity: must be a mapping of settings, not None."),
    ),
    "a boolean for a setting": (
        ("squeeze_excite: [0, 1]", "squeeze_excite: [false, 1]"),
        (16, "stages.0.operators.mbconv.squeeze_excite: False is not allowed; use one of 0, 1."),
    ),
    "a number for a name": (
        ("      shufflenet_unit:", "      17:"),
        (17, "stages.0.operators.17: a name must be a string of letters, digits, - and _."),
    ),
    "a name with a dot": (
        ("      shufflenet_unit:", "      a.b:"),
        (17, "stages.0.operators.a.b: a name must be a string of letters, digits, - and _."),
    ),
    "an unknown operator": (
        ("      shufflenet_unit:", "      shufflenet:"),
        (17, "stages.0.operators.shufflenet: 'shufflenet' is not an operator of a layer. "
             "Did you mean 'shufflenet_unit'? Known: conv,"),
    ),
    "an unknown operator under another name": (
        ("operator: conv, kernel", "operator: konv, kernel"),
        (19, "stages.1.operators.other.operator: 'konv' is not an operator of a layer. Did "
             "you mean 'conv'?"),
    ),
    "an operator that is not a string": (
        ("operator: conv, kernel", "operator: [conv], kernel"),
        (19, "stages.1.operators.other.operator: ['conv'] is not an operator of a layer."),
    ),
    "a skip among the operators": (
        ("      shufflenet_unit: {kernel: [3]}", "      skip: {}"),
        (17, "stages.0.operators.skip: not an operator: set skip: true"),
    ),
    "a classifier as a layer": (
        ("      shufflenet_unit: {kernel: [3]}", "      classifier: {width: [16]}"),
        (17, "stages.0.operators.classifier: 'classifier' is not an operator of a layer. It is set "
         "by the space's key head."),
    ),
    "a resize as a layer": (
        ("      shufflenet_unit: {kernel: [3]}", "      resize: {to: [16]}"),
        (17, "stages.0.operators.resize: 'resize' is not an operator of a layer. It is set by the "
         "space's key resolutions."),
    ),
    "a classifier as the stem": (
        ("operator: conv, channels", "operator: classifier, channels"),
        (6, "stem.operator: 'classifier' is not an operator of a layer. It is set by the space's "
         "key head. Known: conv,"),
    ),
    "a convolution as the head": (
        ("operator: classifier", "operator: conv"),
        (20, "head.operator: 'conv' is not an operator of a head. It is set by the space's key "
         "stages. Known: classifier."),
    ),
    "an unknown stem": (
        ("operator: conv, channels", "operator: kconv, channels"),
        (6, "stem.operator: 'kconv' is not an operator of a layer. Did you mean 'conv'?"),
    ),
    "an unknown setting": (
        ("        expansion: [2]", "        expansion: [2]\n        expand: [2]"),
        (16, "stages.0.operators.mbconv.expand: unknown setting of mbconv. Did you mean "
             "'expansion'?"),
    ),
    "an unknown setting of the head": (
        ("{width: 16}", "{widths: 16}"),
        (20, "head.settings.widths: unknown setting of classifier. Did you mean 'width'?"),
    ),
    "a missing setting": (
        ("        expansion: [2]\n", ""),
        (13, "stages.0.operators.mbconv.expansion: required by mbconv; use one of 1, 2, 3, 4,"),
    ),
    "a missing setting of the stem": (
        ("settings: {kernel: 3}", "settings: {}"),
        (6, "stem.settings.kernel: required by conv; use one of 1, 3, 5, 7."),
    ),
    "missing settings of the head": (
        (", settings: {width: 16}", ""),
        (20, "head.settings.width: required by classifier; use 8 to 4096."),
    ),
    "a value that is not allowed": (
        ("kernel: [3, 5]", "kernel: [3, 4]"),
        (14, "stages.0.operators.mbconv.kernel: 4 is not allowed; use one of 3, 5, 7."),
    ),
    "a fraction that equals an allowed value": (
        ("kernel: [3, 5]", "kernel: [3, 5.0]"),
        (14, "stages.0.operators.mbconv.kernel: 5.0 is not allowed; use one of 3, 5, 7."),
    ),
    "a value that the stem does not allow": (
        ("{kernel: 3}", "{kernel: 2}"),
        (6, "stem.settings.kernel: 2 is not allowed; use one of 1, 3, 5, 7."),
    ),
    "a value that the head does not allow": (
        ("{width: 16}", "{width: 2}"),
        (20, "head.settings.width: 2 is not allowed; use 8 to 4096."),
    ),
    "no value to choose from": (
        ("expansion: [2]", "expansion: []"),
        (15, "stages.0.operators.mbconv.expansion: needs a list of values, not []; use one of"),
    ),
    "a value twice": (
        ("kernel: [3, 5]", "kernel: [3, 3]"),
        (14, "stages.0.operators.mbconv.kernel: [3, 3]: a value is listed twice."),
    ),
    "no operator": (
        ("{identity: {}, other: {operator: conv, kernel: [1]}}", "{}"),
        (19, "stages.1.operators: dictionary should have at least 1 item"),
    ),
    "no width": (
        ("channels: [4, 8]", "channels: []"),
        (11, "stages.0.channels: list should have at least 1 item"),
    ),
    "a width twice": (
        ("channels: [4, 8]", "channels: [4, 4]"),
        (11, "stages.0.channels: 4 is listed twice (got [4, 4])."),
    ),
    "a width below one": (
        ("channels: [4, 8]", "channels: [0, 8]"),
        (11, "stages.0.channels.0: input should be greater than or equal to 1 (got 0)."),
    ),
    "a width that is no number": (
        ("channels: [4, 8]", "channels:\n      - 4\n      - wide"),
        (13, "stages.0.channels.1: input should be a valid integer (got 'wide')."),
    ),
    "a width that an operator cannot take": (
        ("channels: [4, 8]", "channels: [1, 8]"),
        (17, "stages.0.operators.shufflenet_unit: "),
    ),
    "more least layers than layers": (
        ("min_layers: 2", "min_layers: 4"),
        (10, "stages.0.min_layers: 4 is more than the stage's 3."),
    ),
    "skip and min_layers": (
        ("    min_layers: 2", "    min_layers: 2\n    skip: true"),
        (11, "stages.0.skip: skip means min_layers: 1; use only one of them."),
    ),
    "the same network under two names": (
        ("      shufflenet_unit:", "      wide: {operator: mbconv, kernel: [5], expansion: [2]}\n"
         "      shufflenet_unit:"),
        (17, "stages.0.operators.wide: mbconv with expansion 2, kernel 5 is also in mbconv"),
    ),
    "sizes in the wrong order": (
        ("sizes: [8, 64]", "sizes: [64, 8]"),
        (2, "sizes: must be [smallest, largest], both at least 1 (got [64, 8])."),
    ),
    "one size": (("sizes: [8, 64]", "sizes: [8]"), (2, "sizes.1: required, but not given.")),
    "three sizes": (("sizes: [8, 64]", "sizes: [8, 16, 64]"), (2, "sizes: ")),
    "a resolution outside the sizes": (
        ("resolutions: [12, 16]", "resolutions: [12, 128]"),
        (4, "resolutions.1: 128 is outside sizes, 8 to 64."),
    ),
    "a resolution that resize does not know": (
        ("resolutions: [12, 16]", "resolutions: [4, 16]"),
        (4, "resolutions.0: input should be greater than or equal to 8 (got 4)."),
    ),
    "a resolution twice": (
        ("resolutions: [12, 16]", "resolutions: [16, 16]"),
        (4, "resolutions: 16 is listed twice (got [16, 16])."),
    ),
    "no resolution": (
        ("resolutions: [12, 16]", "resolutions: []"),
        (4, "resolutions: list should have at least 1 item"),
    ),
    "images outside the sizes": (
        ("images: {size: 32", "images: {size: 128"),
        (3, "images.size: 128 is outside sizes, 8 to 64."),
    ),
    "images below a resolution": (
        ("images: {size: 32", "images: {size: 14"),
        (3, "images.size: 14 is below resolution 16."),
    ),
    "weights of a third kind": (
        ("weights: shared", "weights: own"),
        (5, "weights: input should be 'shared' or 'private' (got 'own')."),
    ),
    "a key twice": (
        ("    stride: 2", "    stride: 2\n    stride: 1"),
        (10, "not valid YAML: found duplicate key \"stride\""),
    ),
    "an open bracket": (("sizes: [8, 64]", "sizes: [8, 64"), (3, "not valid YAML: ")),
    "an unknown alias": (
        ("channels: [4, 8]", "channels: *widths"),
        (11, "not valid YAML: found undefined alias 'widths'"),
    ),
}  # fmt: skip


def message(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "my-space.yaml"
    file.write_text(text)
    with pytest.raises(SpaceError) as raised:
        read_spec(file)
    return [line.replace(f"{file}, ", "") for line in str(raised.value).splitlines()]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_with_line_key_and_rule(tmp_path: Path, mistake: str) -> None:
    (right, wrong), (line, expected) = MISTAKES[mistake]
    assert SPACE_FILE.count(right) == 1
    lines = message(tmp_path, SPACE_FILE.replace(right, wrong))
    separator = ": " if expected.startswith("not valid YAML") else ", "
    assert [text for text in lines if text.startswith(f"line {line}{separator}{expected}")], lines
    # A mistyped required key is also reported as missing.
    others = [text for text in lines if "required" not in text]
    assert len(others) <= 1, "one error per mistake"


def test_the_file_without_mistakes_is_a_space(tmp_path: Path) -> None:
    file = tmp_path / "my-space.yaml"
    file.write_text(SPACE_FILE)
    space = SearchSpace.load(file, (1, 32, 32), 5)
    # 2 resolutions; 2 widths, 5 candidates in two layers and 6 in the last; 2 in the second stage.
    assert space.count() == 2 * 2 * 5 * 5 * 6 * 2


def test_all_mistakes_are_reported_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = SPACE_FILE
    for right, wrong in (
        ("sizes: [8, 64]", "sizes: [64, 8]"),
        ("operator: conv, channels", "operator: kconv, channels"),
        ("layers: 3", "layers: 0"),
        ("kernel: [3, 5]", "kernel: [3, 4]"),
        ("expansion: [2]", "expansion: 2"),
        ("squeeze_excite: [0, 1]", "squeeze_excite: [2]"),
        ("shufflenet_unit", "shufflenet"),
        ("{width: 16}", "{width: 2, depth: 1}"),
    ):
        text = text.replace(right, wrong)
    keys = [line.split(": ")[0] for line in message(tmp_path, text)]
    assert keys == [
        "line 2, sizes",
        "line 6, stem.operator",
        "line 8, stages.0.layers",
        "line 14, stages.0.operators.mbconv.kernel",
        "line 15, stages.0.operators.mbconv.expansion",
        "line 16, stages.0.operators.mbconv.squeeze_excite",
        "line 17, stages.0.operators.shufflenet",
        "line 20, head.settings.depth",
        "line 20, head.settings.width",
    ]


def test_a_mistake_behind_an_anchor_is_reported_at_its_line(tmp_path: Path) -> None:
    text = SPACE_FILE.replace("    operators:\n", "    operators: &mine\n").replace(
        "{identity: {}, other: {operator: conv, kernel: [1]}}", "*mine"
    )
    lines = message(tmp_path, text.replace("kernel: [3, 5]", "kernel: [3, 4]"))
    assert [line.split(":")[0] for line in lines] == [
        "line 14, stages.0.operators.mbconv.kernel",
        "line 14, stages.1.operators.mbconv.kernel",
    ]


@pytest.mark.parametrize("text", ["", "- 1\n", "just words\n"])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert message(tmp_path, text)[0].startswith("line 1: a search space must be a mapping, not ")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "my-space.yaml"
    file.write_bytes(b"name: \xff\x81\xff")
    with pytest.raises(SpaceError, match="not valid YAML"):
        read_spec(file)


@pytest.mark.parametrize(
    "odd", ["{[1]: 2}", "&me [*me]", "2020-13-45", "!!python/object:os.system {}", "1e999", ".nan"]
)
def test_any_error_of_the_yaml_loader_is_a_space_error(tmp_path: Path, odd: str) -> None:
    assert message(tmp_path, SPACE_FILE.replace("[4, 8]", odd))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="no such search space"):
        read_spec(tmp_path / "nothing.yaml")
