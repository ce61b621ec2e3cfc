"""Which images a space takes, and which it is shown with."""

from pathlib import Path

import pytest

from models.space.file import read_spec
from models.space.space import SearchSpace
from models.space.spec import SpaceError
from tests.spaces import SPACE_FILE


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (4, 4, "square images of 8 to 64 pixels, not 4x4"),
        (65, 65, "not 65x65. Change data.size"),
        (32, 28, "not 32x28"),
        (14, 14, "resolutions up to 16 pixels, and images of 14 are never enlarged"),
    ],
)
def test_unsupported_images_are_refused(
    tmp_path: Path, height: int, width: int, expected: str
) -> None:
    file = tmp_path / "my-space.yaml"
    file.write_text(SPACE_FILE)
    with pytest.raises(SpaceError) as raised:
        SearchSpace.load(file, (1, height, width), 5)
    assert expected in str(raised.value)


def test_a_stem_that_cannot_read_the_images_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "my-space.yaml"
    text = SPACE_FILE.replace("operator: conv, channels", "operator: shufflenet_unit, channels")
    file.write_text(text)
    assert SearchSpace.load(file, (3, 32, 32), 5).count()
    with pytest.raises(SpaceError, match=r"space 'mine', stem: .* at least 2 channels"):
        SearchSpace.load(file, (1, 32, 32), 5)


def test_a_space_without_images_defaults_to_the_smallest_supported(tmp_path: Path) -> None:
    file = tmp_path / "my-space.yaml"
    file.write_text(SPACE_FILE.replace("images: {size: 32, channels: 1, classes: 5}\n", ""))
    shown = read_spec(file).shown_images
    assert (shown.size, shown.channels, shown.classes) == (16, 3, 10)
