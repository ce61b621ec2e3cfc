"""`netwright space`: a search space in numbers, and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def space(
    name: Annotated[str, typer.Argument(metavar="PRESET", help="A name, or a YAML file.")],
    size: Annotated[int | None, typer.Option(min=1, help="Height of the images, pixels.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels of the images.")] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Number of classes.")] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw it, as .png or .svg.")
    ] = None,
) -> None:
    """Show a search space: number of architectures, variables and cost ranges."""
    from core.files import write_new
    from pipelines.show.space_picture import check_picture, space_picture
    from pipelines.show.space_table import open_space, print_space

    if picture is not None:
        check_picture(picture)
    opened = open_space(name, size, channels, classes)
    print_space(Console(), opened)
    if picture is not None:
        write_new(picture, space_picture(opened, picture.suffix))
