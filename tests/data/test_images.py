import contextlib
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data import images
from data.images import ImageError, decode_file, is_grey, load_image, resize_all, used_bits
from tests.support import ROOT

RNG = np.random.default_rng(0)
RGB_HW3 = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)


def decode(*arguments, **options):
    return decode_file(*arguments, **options).pixels_HW3


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PNG = encoded(Image.fromarray(RGB_HW3))
JPEG = encoded(Image.fromarray(RGB_HW3), "JPEG")


def test_an_image_of_the_right_shape_keeps_its_pixels():
    assert np.array_equal(decode(PNG, "x", 40, "crop"), RGB_HW3)
    assert np.array_equal(decode(PNG, "x", 40, "pad"), RGB_HW3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("shape", [(7, 90), (90, 7), (33, 33)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_every_mode_and_shape_becomes_square_rgb(mode, shape, fit):
    image = Image.fromarray(RNG.integers(0, 256, (*shape, 3), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(RNG.integers(0, 2**16, shape).astype(np.uint16))
    else:
        image = image.convert(mode)
    rgb_HW3 = decode(encoded(image), "x", 32, fit)
    assert rgb_HW3.shape == (32, 32, 3)
    assert rgb_HW3.dtype == np.uint8
    assert is_grey(rgb_HW3) == (mode in {"1", "L", "LA", "I;16"})


def test_cmyk_comes_out_in_its_colour():
    cmyk = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    red, green, blue = decode(encoded(cmyk, "JPEG", quality=95), "x", 16, "crop")[8, 8].tolist()
    assert red > 200
    assert max(green, blue) < 60


def test_sixteen_bits_keep_their_high_byte():
    values_HW = np.array([[0, 255], [256, 65535]], np.uint16)
    grey_HW3 = decode(encoded(Image.fromarray(values_HW)), "x", 2, "crop")
    assert grey_HW3[..., 0].tolist() == [[0, 0], [1, 255]]


def test_transparency_lies_over_black():
    image = Image.new("RGBA", (8, 8), (200, 100, 50, 0))
    image.putpixel((0, 0), (200, 100, 50, 255))
    rgb_HW3 = decode(encoded(image), "x", 8, "crop")
    assert rgb_HW3[0, 0].tolist() == [200, 100, 50]
    assert rgb_HW3[1, 1].tolist() == [0, 0, 0]


def test_the_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    turned = encoded(Image.fromarray(RGB_HW3), exif=exif)
    assert np.array_equal(decode(turned, "x", 40, "crop"), np.rot90(RGB_HW3, -1))


def test_crop_keeps_the_centre_and_pad_keeps_everything():
    wide_HW = np.zeros((10, 30), np.uint8)
    wide_HW[:, :10], wide_HW[:, 10:20] = 255, 128
    content = encoded(Image.fromarray(wide_HW))
    assert (decode(content, "x", 10, "crop") == 128).all()
    padded_HW3 = decode(content, "x", 30, "pad")
    assert (padded_HW3[:10] == 0).all()
    assert (padded_HW3[20:] == 0).all()
    assert np.array_equal(padded_HW3[10:20, :, 0], wide_HW)


def test_a_grey_image_is_the_same_alone_and_as_one_channel_of_a_data_set(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(RNG.integers(0, 256, (50, 70), dtype=np.uint8)).save(file)
    rgb_HW3 = load_image(file, (3, 24, 24))
    assert np.array_equal(load_image(file, (1, 24, 24)), rgb_HW3[..., :1])


def test_a_coloured_image_becomes_grey_for_a_grey_network(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    assert load_image(file, (1, 40, 40)).shape == (40, 40, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an image"),
        (b"hello", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (PNG[: len(PNG) // 2], "damaged or unsupported"),
        (JPEG[: len(JPEG) // 2], "damaged or unsupported"),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path, content, words):
    file = tmp_path / "holiday.png"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=words) as caught:
        load_image(file, (3, 32, 32))
    assert "holiday.png" in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        load_image(tmp_path / "none.png", (1, 8, 8))
    with pytest.raises(ImageError, match="is not a file"):
        load_image(tmp_path, (1, 8, 8))


def test_floating_point_pixels_are_refused():
    image = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    with pytest.raises(ImageError, match="no fixed range"):
        decode(encoded(image, "TIFF"), "x", 8, "crop")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    with pytest.raises(ImageError, match="1600 pixels, more than the 1000 allowed"):
        decode(PNG, "bomb.png", 8, "crop")


def test_a_real_decompression_bomb_is_refused():
    with pytest.raises(ImageError, match="bomb"):
        decode(b"P5 60000 60000 255\n", "x", 8, "crop")


@given(st.sampled_from([PNG, JPEG]), st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_give_an_image_or_an_image_error(content, data):
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert decode(bytes(damaged), "x", 8, "crop").shape == (8, 8, 3)


def test_resizing_arrays_follows_the_rule_for_files():
    grey_NHWC = RNG.integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    resized_NHWC = resize_all(grey_NHWC, 28)
    for image_HWC, resized_HWC in zip(grey_NHWC, resized_NHWC[:], strict=True):
        content = encoded(Image.fromarray(image_HWC[..., 0]))
        assert np.array_equal(decode(content, "x", 28, "crop")[..., :1], resized_HWC)


def test_arrays_that_have_the_size_are_left_alone():
    grey_NHWC = RNG.integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    assert resize_all(grey_NHWC, 28) is grey_NHWC


# 16 bits.


def png_of_16_bits(values, kind):
    """A PNG with 16 bits per channel, which Pillow cannot write for colour."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)}
    chunks |= {b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    )


GREY, COLOUR, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 4, 6
TWELVE = np.array([[0, 15], [16, 3500]], np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "big-endian TIFF"])
def test_twelve_bits_are_scaled_to_eight_whatever_the_file(kind):
    values_HW = TWELVE.astype(">u2") if kind == "big-endian TIFF" else TWELVE
    content = encoded(Image.fromarray(values_HW), kind.split()[-1])
    found = decode_file(content, "x", 2, "crop", bits=12)
    assert found.pixels_HW3[..., 0].tolist() == [[0, 0], [1, 218]]
    assert found.peak == 3500


def test_values_past_the_used_bits_are_white():
    content = encoded(Image.fromarray(np.array([[4095, 4096], [5000, 65535]], np.uint16)))
    assert (decode(content, "x", 2, "crop", bits=12) == 255).all()


def test_used_bits_hold_the_peak_and_are_eight_at_the_least():
    assert [used_bits(peak) for peak in (0, 255, 256, 4095, 4096, 65535)] == [8, 8, 9, 12, 13, 16]


def test_eight_bit_values_in_a_sixteen_bit_file_stay_as_they_are():
    content = encoded(Image.fromarray(np.array([[0, 7], [200, 255]], np.uint16)))
    assert decode(content, "x", 2, "crop", bits=8)[..., 0].tolist() == [[0, 7], [200, 255]]


def test_eight_bit_images_have_no_peak_and_no_other_scale():
    assert decode_file(PNG, "x", 40, "crop", bits=12).peak is None
    assert np.array_equal(decode(PNG, "x", 40, "crop", bits=12), RGB_HW3)


@pytest.mark.parametrize(("kind", "channels"), [(COLOUR, 3), (GREY_ALPHA, 2), (COLOUR_ALPHA, 4)])
def test_sixteen_bit_colour_is_scaled_like_grey_as_far_as_it_can_be_read(kind, channels):
    values = np.full((2, 2, channels), 0x3200, np.uint16)
    values[..., 3 if kind == COLOUR_ALPHA else 1] |= 0xFFFF if kind != COLOUR else 0
    content = png_of_16_bits(values, kind)
    found = decode_file(content, "x", 2, "crop", bits=14)
    assert (found.pixels_HW3 == 0x32 << 2).all()
    assert found.peak == 0x32FF
    assert (decode(content, "x", 2, "crop") == 0x32).all()
    with pytest.raises(ImageError, match=r"16-bit colour that uses 12 bits.*save with 8 bits"):
        decode(content, "x", 2, "crop", bits=12)


def test_sixteen_bit_tiff_and_ppm_colour_are_noticed():
    ppm = b"P6 2 2 65535\n" + np.full((2, 2, 3), 0x3200, ">u2").tobytes()
    assert decode_file(ppm, "x", 2, "crop").peak == 0x32FF
    declared = b"P6 2 2 4095\n" + np.full((2, 2, 3), 4095, ">u2").tobytes()
    found = decode_file(declared, "x", 2, "crop")
    assert (found.peak, found.pixels_HW3.min()) == (None, 255)


def test_transparent_grey_of_sixteen_bits_lies_over_black():
    content = encoded(Image.fromarray(TWELVE), transparency=3500)
    assert decode(content, "x", 2, "crop", bits=12)[..., 0].tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("value", [-5, 70_000])
def test_integers_without_a_fixed_range_are_refused(value):
    content = encoded(Image.fromarray(np.full((4, 4), value, np.int32)), "TIFF")
    with pytest.raises(ImageError, match=r"outside 0\.\.65535"):
        decode(content, "x", 4, "crop")


def test_a_single_image_is_read_with_the_bits_of_its_data_set(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(TWELVE).save(file)
    assert load_image(file, (1, 2, 2), bits=12)[..., 0].tolist() == [[0, 0], [1, 218]]


def test_a_dark_sixteen_bit_image_is_refused_where_no_scale_is_known(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(TWELVE).save(file)
    with pytest.raises(ImageError, match=r"3500 at most.*scale is not known\. Save it with 8"):
        load_image(file, (1, 2, 2))
    Image.fromarray(TWELVE * 16).save(file)
    assert load_image(file, (1, 2, 2)).max() == 218


# Other modes, and their values.


def test_every_mode_keeps_its_brightness():
    grey = Image.new("L", (8, 8), 200)
    palette = Image.new("RGB", (8, 8), (200, 200, 200)).quantize(4)
    for image in (grey, grey.convert("LA"), grey.convert("RGBA"), palette, palette.convert("PA")):
        kind = "TIFF" if image.mode == "PA" else "PNG"
        if image.mode != "PA":  # no format stores PA
            assert (decode(encoded(image, kind), "x", 8, "crop") == 200).all()
    assert (decode(encoded(Image.new("1", (8, 8), 1)), "x", 8, "crop") == 255).all()
    white = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    assert (decode(encoded(white, "TIFF"), "x", 8, "crop") == 255).all()


def test_a_palettes_transparent_colour_lies_over_black():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert (decode(encoded(image), "x", 8, "crop") == [10, 200, 30]).all()
    assert (decode(encoded(image, transparency=1), "x", 8, "crop") == 0).all()


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("L", (8, 8), value) for value in (50, 150, 250)]
    for kind in ("GIF", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (decode(content, "x", 8, "crop") == 50).all(), kind


def test_a_large_image_is_refused_in_our_words_alone():
    program = (
        "from data.images import decode_file, ImageError\n"
        "try: decode_file(b'P5 10000 10000 255\\n', 'x', 8, 'crop')\n"
        "except ImageError as error: print(error)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "100000000 pixels, more than" in found.stdout
    assert found.stderr == ""


def test_a_name_that_is_too_long_is_one_message(tmp_path):
    with pytest.raises(ImageError, match="cannot be read \\(File name too long\\)"):
        load_image(tmp_path / ("n" * 300), (1, 8, 8))
