"""Invalid params files: the error says what is wrong and what to do."""

from pathlib import Path
from typing import Annotated, Literal

import pytest

from core.settings import (
    Named,
    OneOf,
    Params,
    ParamsError,
    Seeded,
    Threaded,
    bind,
    bind_section,
    derive_seed,
)
from core.yaml_file import read_yaml

BAD: dict[str, tuple[bytes, str]] = {
    "a tab": (b"data:\n\tsource: x\n", "in line 2: indentation contains a tab"),
    "the same name twice": (b"data: 1\ndata: 2\n", 'in line 2: found duplicate key "data"'),
    "a number of 5000 digits": (b"a: " + b"9" * 5000, "a number is too long"),
    "nothing": (b"", "is empty: restore it"),
    "latin1": (b"a: caf\xe9\n", "not UTF-8 (byte 7 is 0xe9)"),
    "utf-16": ("a: 1\n".encode("utf-16"), "iconv -f utf-16"),
    "NUL": (b"a: \0\n", "special characters are not allowed"),
    "deep nesting": (b"a: " + b"[" * 1500, "nested too deeply"),
    "an alias of itself": (b"a: &a [*a]\n", "an alias contains itself"),
    "a tag": (b"a: !!python/object:os.system x\n", "could not determine a constructor"),
    "a list": (b"- a\n", "must be a mapping of sections, not list"),
    "a date that is none": (b"a: 2020-99-99\n", "month must be in 1..12"),
    "a number for a name": (
        b"devices:\n  1080: 1\n",
        "line 2: devices.1080 is not a string in YAML",
    ),
    "a truth value for a name": (b"devices:\n  false: 1\n", 'Put the name in quotes: "false"'),
    "1e3 for a name": (b"devices:\n  1e3: 1\n", 'Put the name in quotes: "1e3"'),
    "markers of a merge": (
        b"a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n",
        "git's conflict markers",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_cannot_be_used_says_why(kind: str, tmp_path: Path):
    content, said = BAD[kind]
    file = tmp_path / "params.yaml"
    file.write_bytes(content)
    with pytest.raises(ParamsError) as error:
        read_yaml(file)
    assert said in str(error.value)
    assert str(file) in str(error.value)
    assert "unicode string" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfa: {b: 1}\n", b"a:\r\n  b: 1\r\n", b"a: {b: 1} # no device\n"],
    ids=["BOM", "CRLF", "plain"],
)
def test_a_file_as_windows_writes_it_is_read(content: bytes, tmp_path: Path):
    file = tmp_path / "params.yaml"
    file.write_bytes(content)
    assert read_yaml(file) == {"a": {"b": 1}}


def test_names_in_quotes_and_the_word_no_are_names(tmp_path: Path):
    file = tmp_path / "params.yaml"
    file.write_text("devices: {'1080': 1, \"false\": 2, no: 3, '1e3': 4}\n")
    assert list(read_yaml(file)["devices"]) == ["1080", "false", "no", "1e3"]


def test_a_folder_and_a_link_to_nothing_are_named(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ParamsError, match="is a folder"):
        read_yaml(tmp_path / "folder")
    (tmp_path / "link").symlink_to("nothing")
    with pytest.raises(ParamsError, match="a broken link: nothing does not exist"):
        read_yaml(tmp_path / "link")


class Some(Params):
    """Settings."""

    seed: int = 0
    share: float = 0.0
    name: str = ""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"seed": 2**32}, "some.seed: must be at most 4294967295"),
        ({"share": 10**40}, "some.share: must be at most"),
        ({"share": float("nan")}, "some.share: input should be a finite number"),
        ({"name": 1080}, "Put it in quotes."),
    ],
)
def test_a_value_that_no_library_takes_is_named(values: dict[str, object], said: str):
    with pytest.raises(ParamsError) as error:
        bind(values, "some", Some)
    assert said in str(error.value)


class Inner(Seeded):
    """Settings within."""


class Section(Threaded):
    """A section."""

    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"signing_key": "key.pem"}, "bundle.signing_key: moved to the root key signing_key."),
        ({"signing": {"key": 1}}, "bundle.signing: unknown key. Known: inner."),
        ({"seed": 3}, "bundle.seed: not a key of a section: use the root key seed"),
        ({"threads": 3}, "bundle.threads: not a key of a section: use the root key threads"),
        ({"inner": {"seed": 3}}, "bundle.inner.seed: not a key of a section: use the root key"),
    ],
)
def test_a_moved_or_removed_key_names_its_new_place(values: dict[str, object], said: str):
    with pytest.raises(ParamsError) as error:
        bind_section({"bundle": values}, "bundle", Section)
    assert said in str(error.value)


def test_seeds_and_threads_of_a_section_are_the_roots():
    section = bind_section({"seed": 1, "threads": 2, "bundle": {}}, "bundle", Section)
    assert section.threads == 2
    assert len({1, section.seed, section.inner.seed}) == 3


class Pair(Params):
    """Two numbers with defaults of the class."""

    low: int = 0
    high: int = 9


class Outer(Params):
    """A section whose default differs from that of the class."""

    pair: Pair = Pair(low=3)


def test_a_partly_given_nested_section_keeps_the_other_defaults_of_its_field():
    assert bind({"pair": {"high": 5}}, "some", Outer).pair == Pair(low=3, high=5)


class Fast(Named):
    """One algorithm."""

    name: Literal["fast"] = "fast"


class Slow(Named):
    """Another algorithm."""

    name: Literal["slow"] = "slow"
    steps: int = 5
    inner: Inner = Inner()


class Chosen(Params):
    """A section with a choice."""

    algorithm: Annotated[Named, OneOf("algorithm", (Fast, Slow))] = Fast()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, Fast()),
        ({"algorithm": "slow"}, Slow()),
        ({"algorithm": {"name": "slow", "steps": 7}}, Slow(steps=7)),
        ({"algorithm": Slow(steps=8)}, Slow(steps=8)),
    ],
)
def test_a_name_selects_the_settings_of_its_entry(given: dict[str, object], found: Named):
    section = bind_section({"section": given}, "section", Chosen)
    assert type(section.algorithm) is type(found)
    if isinstance(section.algorithm, Slow):
        assert section.algorithm.inner.seed == derive_seed(0, "section.algorithm.inner")
    assert section.algorithm.model_dump(exclude={"inner"}) == found.model_dump(exclude={"inner"})
    assert Chosen.model_validate(section.model_dump()) == section


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("slwo", "x.algorithm: unknown algorithm 'slwo'. Did you mean 'slow'? Known: fast, slow."),
        (3, "x.algorithm: unknown algorithm 3. Known: fast, slow."),
        ({"steps": 3}, "x.algorithm: needs the name of its algorithm. Known: fast, slow."),
        ({"name": "slow", "step": 3}, "x.algorithm.step: unknown key. Did you mean 'steps'?"),
        ({"name": "fast", "steps": 3}, "x.algorithm.steps: unknown key. Known: name."),
        ({"name": "slow", "steps": "3"}, "x.algorithm.steps: input should be a valid integer"),
        ({"name": "slow", "inner": {"seed": 3}}, "x.algorithm.inner.seed: not a key of a section"),
    ],
)
def test_a_wrong_name_or_a_wrong_key_of_an_entry_is_named(given: object, said: str):
    with pytest.raises(ParamsError) as error:
        bind_section({"x": {"algorithm": given}}, "x", Chosen)
    assert said in str(error.value)
