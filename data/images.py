"""Images as arrays: every decoding and resizing rule, shared by data sets and single predictions.

Axes: N images, H height, W width, C channels. Arrays are uint8.

The rules, in order: the EXIF orientation is applied; transparency is laid over black, the colour
that padding uses; 16-bit pixels keep their high byte; the aspect ratio is kept, by cutting the
longer side around the centre (`crop`) or by black bars (`pad`); bilinear resampling, averaging
over the source pixels when shrinking. Of an animation the first frame counts.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from data.errors import ImageError

Fit = Literal["crop", "pad"]
UInt8 = npt.NDArray[np.uint8]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded. A closed list: some of Pillow's formats start other programs."""

MAX_PIXELS = 89_478_485
"""Larger images are refused as decompression bombs (Pillow's own threshold for its warning)."""

# What Pillow's decoders raise on damaged files, besides OSError.
_UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def load_image(path: Path, image_shape: tuple[int, int, int], fit: Fit = "crop") -> UInt8:
    """Read one image file in the shape a network expects.

    Args:
        path: the file, in one of `FORMATS`.
        image_shape: (C, H, W) with C 1 (grey) or 3 (RGB) and H = W.
        fit: how the aspect ratio is kept, as the data set was prepared.

    Returns:
        uint8 (H, W, C).

    Raises:
        ImageError: the file is missing, truncated, too large, or no image.
    """
    channels, height, width = image_shape
    if channels not in (1, 3) or height != width:
        raise ImageError(f"images are (1 or 3, size, size), not {image_shape}.")
    rgb_HW3 = decode(read_image_file(path), str(path), height, fit)
    if channels == 3:
        return rgb_HW3
    return np.asarray(Image.fromarray(rgb_HW3).convert("L"))[..., None]


def read_image_file(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        ImageError: it is missing, no regular file, or cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ImageError(f"{path} is not a file.")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file.") from None
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror}).") from error


def decode(content: bytes, name: str, size: int, fit: Fit) -> UInt8:
    """Turn one image file into RGB: uint8 (size, size, 3); see the module for the rules.

    A grey image has three equal channels.

    Args:
        content: the file.
        name: what messages call it.
        size: height and width of the result, in pixels.
        fit: how the aspect ratio is kept.

    Raises:
        ImageError: it is truncated, too large, or no image.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise ValueError(f"{pixels} pixels, more than the {MAX_PIXELS} allowed")
            image.load()
            upright = ImageOps.exif_transpose(image)
            return np.asarray(_fitted(_rgb(upright), size, fit))
    except UnidentifiedImageError:
        formats = ", ".join(FORMATS)
        raise ImageError(f"{name} is not an image that can be read; use {formats}.") from None
    except _UNREADABLE as error:
        raise ImageError(f"{name} is damaged or unsupported ({error}).") from error


def is_grey(rgb_HW3: UInt8) -> bool:
    """Whether the three channels are equal at every pixel."""
    red = rgb_HW3[..., 0]
    return np.array_equal(red, rgb_HW3[..., 1]) and np.array_equal(red, rgb_HW3[..., 2])


def resize_all(
    images_NHWC: UInt8, size: int, on_done: Callable[[int, int], None] | None = None
) -> UInt8:
    """Resize square images of one channel count; images that have the size stay as they are.

    Returns:
        uint8 (N, size, size, C).
    """
    count, height, width, channels = images_NHWC.shape
    if (height, width) == (size, size):
        return images_NHWC
    resized_NHWC = np.empty((count, size, size, channels), np.uint8)
    for index, image_HWC in enumerate(images_NHWC):
        image = Image.fromarray(image_HWC[..., 0] if channels == 1 else image_HWC)
        resized_NHWC[index] = np.asarray(_fitted(image, size, "crop")).reshape(size, size, -1)
        if on_done is not None:
            on_done(index + 1, count)
    return resized_NHWC


def _fitted(image: Image.Image, size: int, fit: Fit) -> Image.Image:
    bilinear = Image.Resampling.BILINEAR
    if fit == "pad":
        return ImageOps.pad(image, (size, size), bilinear, color=0)
    return ImageOps.fit(image, (size, size), bilinear)


def _rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel, three channels, no transparency."""
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    values_HW = np.asarray(image)
    if values_HW.min() < 0 or values_HW.max() > 0xFFFF:
        raise ValueError("pixels outside 0..65535 have no fixed range; save with 8 or 16 bits")
    return Image.fromarray((values_HW >> 8).astype(np.uint8))
