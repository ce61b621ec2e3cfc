"""Image decoding and resizing, shared by datasets and single-image inference.

Axes: N images, H height, W width, C channels. Arrays are uint8.

In order: apply the EXIF orientation; composite transparency over black, the padding colour; reduce
16-bit pixels to the upper 8 of the dataset's significant bits; keep the aspect ratio by a centre
crop (`crop`) or black bars (`pad`); resample bilinearly, with antialiasing when shrinking. Only
the first frame of an animation is used.

The number of significant bits depends on the camera: 16-bit files may hold 12-bit values. Pillow
reads 16-bit greyscale in full, but only the high byte of 16-bit colour.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from core.errors import UserError
from data.store import Images, StoredImages

Fit = Literal["crop", "pad"]
UInt8 = npt.NDArray[np.uint8]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Accepted formats. An allowlist: some Pillow formats start external programs."""

MAX_PIXELS = 89_478_485
"""Larger images are rejected as decompression bombs (Pillow's warning threshold)."""

ALL_BITS = 16
"""Default number of significant bits of 16-bit images."""

_FEWEST_COLOUR_BITS = 13  # with fewer bits, 16-bit colour would keep less than 32 levels
_DARK = 1 << 12  # 16-bit pixels below it become almost black in 8 bits

# `decode_file` rejects larger images with its own message.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# What Pillow's decoders raise on damaged files.
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


class ImageError(UserError):
    """An unreadable image file; the message names the file and the reason."""


@dataclass(frozen=True)
class Decoded:
    """A decoded image file."""

    pixels_HW3: UInt8
    peak: int | None
    """Largest value before the reduction to 8 bits; None: the file has at most 8 bits."""


def load_image(
    path: Path, image_shape: tuple[int, int, int], fit: Fit = "crop", bits: int | None = None
) -> UInt8:
    """Read one image file in the input shape of a network: uint8 (H, W, C).

    Args:
        path: the file, in one of `FORMATS`.
        image_shape: (C, H, W) with C 1 (grey) or 3 (RGB) and H = W.
        fit: how the aspect ratio is kept, as in the dataset.
        bits: significant bits of the dataset's 16-bit images; None: it has none.

    Raises:
        ImageError: the file is missing, truncated, too large, not an image, or a dark 16-bit
            image of unknown scale.
    """
    channels, height, width = image_shape
    if channels not in (1, 3) or height != width:
        raise ImageError(f"images are (1 or 3, size, size), not {image_shape}.")
    found = decode_file(read_image_file(path), str(path), height, fit, bits or ALL_BITS)
    if bits is None and found.peak is not None and found.peak < _DARK:
        raise ImageError(
            f"{path} has 16-bit pixels of {found.peak} at most, and the network was not trained "
            "on 16-bit images: their scale is not known. Save it with 8 bits per channel."
        )
    if channels == 3:
        return found.pixels_HW3
    return np.asarray(Image.fromarray(found.pixels_HW3).convert("L"))[..., None]


def read_image_file(path: Path) -> bytes:
    """Read the bytes of an image file.

    Raises:
        ImageError: it is missing, not a regular file, or unreadable.
    """
    try:
        if path.exists() and not path.is_file():
            raise ImageError(f"{path} is not a file.")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file.") from None
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror}).") from error


def decode_file(content: bytes, name: str, size: int, fit: Fit, bits: int = ALL_BITS) -> Decoded:
    """Decode one image file to RGB, uint8 (size, size, 3), as the module docstring describes.

    A grey image has three equal channels. Of 16-bit pixels `bits` are significant; larger values
    become white.

    Raises:
        ImageError: the file is truncated, too large, or not an image.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise ValueError(f"{pixels} pixels, more than the {MAX_PIXELS} allowed")
            coarse = _has_coarse_colour(image)  # not available after load()
            image.load()
            upright = ImageOps.exif_transpose(image)
            peak = _peak(upright, coarse)
            rgb = _rgb(upright, bits)
            if coarse and bits < ALL_BITS:
                rgb = _brightened(rgb, bits)
            return Decoded(np.asarray(_fitted(rgb, size, fit)), peak)
    except UnidentifiedImageError:
        formats = ", ".join(FORMATS)
        raise ImageError(f"{name} is not an image that can be read; use {formats}.") from None
    except _UNREADABLE as error:
        raise ImageError(f"{name} is damaged or unsupported ({error}).") from error


def used_bits(peak: int) -> int:
    """Significant bits of 16-bit pixels with maximum `peak`, at least 8."""
    return max(8, peak.bit_length())


def is_grey(rgb_HW3: UInt8) -> bool:
    """Whether the three channels are equal at every pixel."""
    red = rgb_HW3[..., 0]
    return np.array_equal(red, rgb_HW3[..., 1]) and np.array_equal(red, rgb_HW3[..., 2])


def resize_all(
    images_NHWC: UInt8,
    size: int,
    on_done: Callable[[int, int], None] | None = None,
    folder: Path | None = None,
) -> Images:
    """Resize square images to (N, size, size, C) on disk, in a temporary file in `folder`.

    Returns the input if the images have the size.
    """
    count, height, width, channels = images_NHWC.shape
    if (height, width) == (size, size):
        return images_NHWC
    resized_NHWC = StoredImages(folder, (count, size, size, channels))
    for index, image_HWC in enumerate(images_NHWC):
        image = Image.fromarray(image_HWC[..., 0] if channels == 1 else image_HWC)
        resized_NHWC[index] = np.asarray(_fitted(image, size, "crop"))
        if on_done is not None:
            on_done(index + 1, count)
    return resized_NHWC


def _fitted(image: Image.Image, size: int, fit: Fit) -> Image.Image:
    bilinear = Image.Resampling.BILINEAR
    if fit == "pad":
        return ImageOps.pad(image, (size, size), bilinear, color=0)
    return ImageOps.fit(image, (size, size), bilinear)


def _rgb(image: Image.Image, bits: int) -> Image.Image:
    """Convert to 8-bit RGB without transparency."""
    if image.mode.startswith("I"):
        image = _eight_bits(image, bits)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba)
    return image.convert("RGB")


def _peak(image: Image.Image, coarse: bool) -> int | None:
    """The largest value of a 16-bit image."""
    if image.mode.startswith("I"):
        return int(np.asarray(image).max())
    # Only the high byte is known; assume the largest low byte.
    return int(np.asarray(image.convert("RGB")).max()) << 8 | 0xFF if coarse else None


def _has_coarse_colour(image: Image.Image) -> bool:
    """Whether the file has 16-bit colour, of which Pillow reads only the high byte."""
    if image.mode.startswith("I") or not isinstance(image, ImageFile) or not image.tile:
        return False
    arguments = image.tile[0].args
    first, *others = arguments if isinstance(arguments, tuple) else (arguments,)
    if image.format == "PPM":  # any other maximum is the file's full scale
        return others == [0xFFFF]
    # CMYK is inverted; 16-bit BMP has 5 bits per channel.
    if image.mode == "CMYK" or image.format == "BMP":
        return False
    return isinstance(first, str) and ";16" in first


def _brightened(rgb: Image.Image, bits: int) -> Image.Image:
    """Rescale the high bytes of 16-bit colour to `bits` significant bits."""
    if bits < _FEWEST_COLOUR_BITS:
        raise ValueError(
            f"16-bit colour that uses {bits} bits: only the upper 8 of 16 bits can be read; save "
            "with 8 bits per channel"
        )
    factor = 1 << (ALL_BITS - bits)
    return rgb.point([min(value * factor, 255) for value in range(256)] * 3)


def _eight_bits(image: Image.Image, bits: int) -> Image.Image:
    values_HW = np.asarray(image)
    if values_HW.min() < 0 or values_HW.max() > 0xFFFF:
        raise ValueError("pixels outside 0..65535 have no fixed range; save with 8 or 16 bits")
    scaled_HW = np.minimum(values_HW >> (bits - 8), 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):  # transparent value of a grey PNG, composited over black
        scaled_HW[values_HW == clear] = 0
    return Image.fromarray(scaled_HW)
