"""A network architecture as a hashable value with JSON form and a stable id. Imports no torch."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from core.errors import UserError

Setting = int | float | str
SCHEMA = "netwright/architecture/1"
SKIP = "skip"
RESIZE = "resize"
"""The operator before the stem that resizes the image to its setting `to`."""
_KEYS = ("operator", "in_channels", "out_channels", "size", "stride")


@dataclass(frozen=True)
class Option:
    """The operator and settings of a block, without its shape."""

    operator: str
    settings: tuple[tuple[str, Setting], ...]

    def block(self, channels: int, width: int, size: int, stride: int) -> Block:
        """The block with `channels` inputs of `size` pixels and `width` outputs."""
        return Block(self.operator, channels, width, size, stride, self.settings)


@dataclass(frozen=True)
class Block:
    """One block of a network, with all that is needed to build, cost or measure it."""

    operator: str
    in_channels: int
    out_channels: int
    size: int
    """Height and width of the input, in pixels."""
    stride: int
    """1 keeps the size, 2 halves it (rounded up)."""
    settings: tuple[tuple[str, Setting], ...] = ()
    """The operator's settings, sorted by name."""

    @cached_property
    def options(self) -> Mapping[str, Setting]:
        """The settings as a mapping."""
        return dict(self.settings)

    @property
    def out_size(self) -> int:
        """Height and width of the output, in pixels.

        Raises:
            UserError: a resize block has no valid setting `to`.
        """
        if self.operator == RESIZE:
            to = self.options.get("to")
            if type(to) is not int or to < 1:
                raise UserError(f"block '{self.key}' needs a setting 'to', in pixels.")
            return to
        return -(-self.size // self.stride)

    @property
    def keeps_shape(self) -> bool:
        """Whether input and output shapes are equal, so that a residual can be added."""
        same = (self.in_channels, self.size) == (self.out_channels, self.out_size)
        return same and self.stride == 1

    @property
    def key(self) -> str:
        """A readable, unique name: the key of a latency table's row."""
        settings = "".join(f" {name}={value}" for name, value in self.settings)
        shape = f"{self.in_channels}->{self.out_channels} {self.size}px /{self.stride}"
        return f"{self.operator} {shape}{settings}"

    def to_json(self) -> dict[str, Any]:
        """JSON values; the inverse of `from_json`."""
        return {name: getattr(self, name) for name in _KEYS} | {"settings": dict(self.settings)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Block:
        """Build a block from the output of `to_json`.

        Raises:
            UserError: a key is missing, unknown, or of the wrong type.
        """
        if not isinstance(content, Mapping) or set(content) != {*_KEYS, "settings"}:
            raise UserError(f"a block needs exactly the keys {[*_KEYS, 'settings']}: {content}")
        operator, *numbers = (content[name] for name in _KEYS)
        if any(type(number) is not int or number < 1 for number in numbers):
            raise UserError(f"channels, size and stride must be integers >= 1: {content}")
        settings = content["settings"]
        if not isinstance(settings, Mapping) or not isinstance(operator, str):
            raise UserError(f"a block needs an operator name and settings: {content}")
        return Option(operator, tuple(sorted(settings.items()))).block(*numbers)


@dataclass(frozen=True)
class Architecture:
    """One network: its blocks from the image to the logits.

    A skipped layer is None, so that positions match those of the supernet. The operator and
    settings of a skipped layer are not stored: architectures that differ only there are equal.
    """

    blocks: tuple[Block | None, ...]

    def __post_init__(self) -> None:
        present = self.present
        if not present:
            raise UserError("an architecture needs at least one block.")
        for before, after in itertools.pairwise(present):
            if (before.out_channels, before.out_size) != (after.in_channels, after.size):
                raise UserError(
                    f"block '{after.key}' cannot follow '{before.key}': it needs "
                    f"{after.in_channels} channels of {after.size} pixels, and receives "
                    f"{before.out_channels} of {before.out_size}."
                )

    @cached_property
    def present(self) -> tuple[Block, ...]:
        """The blocks that are not skipped."""
        return tuple(block for block in self.blocks if block is not None)

    @cached_property
    def first_layer(self) -> int:
        """The position of the first searched layer: after the optional resize and the stem."""
        front = (None, RESIZE)
        kinds = [None if block is None else block.operator for block in self.blocks]
        stem = next((at for at, kind in enumerate(kinds) if kind not in front), 0)
        return stem + 1

    @property
    def layers(self) -> tuple[Block | None, ...]:
        """The searched layers: all blocks but a leading resize, the stem and the head."""
        return self.blocks[self.first_layer : -1]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Input image shape (channels, height, width), before any resize."""
        first = self.present[0]
        return (first.in_channels, first.size, first.size)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.present[-1].out_channels

    @cached_property
    def id(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of `canonical()`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]

    def canonical(self) -> str:
        """Canonical JSON text: sorted keys, no spaces."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    def to_json(self) -> dict[str, Any]:
        """JSON values with a schema; the inverse of `from_json`."""
        blocks = [{"operator": SKIP} if b is None else b.to_json() for b in self.blocks]
        return {"schema": SCHEMA, "blocks": blocks}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Architecture:
        """Build an architecture from the output of `to_json`.

        Raises:
            UserError: wrong schema, a malformed block, or blocks whose shapes do not match.
        """
        if not isinstance(content, Mapping) or content.get("schema") != SCHEMA:
            raise UserError(f"an architecture's schema must be {SCHEMA!r}.")
        blocks = content.get("blocks")
        if not isinstance(blocks, Sequence) or isinstance(blocks, str):
            raise UserError("an architecture needs a list of blocks.")
        skipped = {"operator": SKIP}
        return cls(tuple(None if block == skipped else Block.from_json(block) for block in blocks))

    def short(self) -> str:
        """One line for tables: `20px | 16 k3e6 | 24/2 k5e3 - fused_mbconv:k3e3-silu | ...`.

        `|` starts a new width or stride, `-` is a skipped layer, and `20px` is the size to which
        the image is resized. A layer is `operator:settings`, without `mbconv:`; numbers follow
        the initials of their setting's name (`se1` is squeeze_excite=1).
        """
        words = [f"{b.out_size}px" for b in self.present[:1] if b.operator == RESIZE]
        channels: int | None = None
        for block in self.layers:
            if block is None:
                words.append("-")
                continue
            if channels is None or block.stride > 1 or block.out_channels != channels:
                stride = f"/{block.stride}" if block.stride > 1 else ""
                words.append(f"| {block.out_channels}{stride}")
            channels = block.out_channels
            words.append(_short(block))
        return " ".join(words).removeprefix("| ")


def _short(block: Block) -> str:
    # Kernel first.
    ordered = sorted(block.settings, key=lambda pair: (pair[0] != "kernel", pair[0]))
    numbers = "".join(f"{_initials(n)}{v}" for n, v in ordered if not isinstance(v, str))
    words = "-".join([numbers, *(v for _, v in ordered if isinstance(v, str))]).strip("-")
    operator = "" if block.operator == "mbconv" else block.operator
    return ":".join(part for part in (operator, words) if part) or block.operator


def _initials(name: str) -> str:
    return "".join(word[0] for word in name.split("_"))


def _parse(value: Any) -> Architecture:
    return value if isinstance(value, Architecture) else Architecture.from_json(value)


ArchitectureJson = Annotated[
    Architecture, PlainValidator(_parse), PlainSerializer(Architecture.to_json)
]
"""An architecture as a field of typed JSON."""
