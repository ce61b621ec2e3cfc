import pytest

from core.errors import UserError
from core.settings import ParamsError, bind
from data.clusters.groups import group_names
from data.settings import DataParams

NAMES = ("cat/p1/0.png", "cat/p2/1.png", "dog/p1/2.png")
PATH = {"source": "folder", "path": "images", "size": 28}


def test_a_level_names_the_folder_counted_from_the_image():
    assert group_names(1, NAMES) == ["p1", "p2", "p1"]
    assert group_names(2, NAMES) == ["cat", "cat", "dog"]


def test_an_expression_names_its_group():
    assert group_names(r"/p(?P<group>\d)/", NAMES) == ["1", "2", "1"]
    videos = ("cat/v7_001.jpg", "cat/v7_002.jpg", "dog/v9_001.jpg")
    assert group_names(r"(?P<group>[^/]+)_\d+\.jpg$", videos) == ["v7", "v7", "v9"]


def test_without_a_rule_the_groups_are_the_sources():
    assert group_names(None, NAMES, ("a", "b", "a")) == ("a", "b", "a")
    assert group_names(None, NAMES) == ()
    assert group_names(1, NAMES, ("a", "b", "a")) == ["p1", "p2", "p1"]


@pytest.mark.parametrize("rule", [3, r"q(?P<group>\d)", r"(?P<group>x?)"])
def test_images_without_a_group_are_named(rule):
    with pytest.raises(UserError, match=r"3 of 3 images have no .*cat/p1/0\.png.*Change data\."):
        group_names(rule, NAMES)


def test_images_without_names_have_no_groups():
    with pytest.raises(UserError, match="file names"):
        group_names(1, ())


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (0, "level begins with 1"),
        ("(", "no regular expression"),
        (r"(\d+)", r"write \(\?P<group>"),
        (True, "data.group"),
    ],
)
def test_an_invalid_rule_is_refused_with_the_right_form(group, words):
    with pytest.raises(ParamsError, match=words):
        bind({**PATH, "group": group}, "data", DataParams)


def test_a_source_without_names_is_refused():
    with pytest.raises(ParamsError, match="digits have no names"):
        bind({**PATH, "source": "digits", "group": 1}, "data", DataParams)
