"""Any picture file becomes an upright RGB picture, or one readable reason why not."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from PIL import Image, ImageFile

from clipsearch.errors import PhotoError
from clipsearch.photos.decoding.decode import (
    Photo,
    decode,
    decode_frames,
    read_file,
    take_over_pillow,
)

ORANGE = (200, 100, 50)
WHITE = (255, 255, 255)
GREY_16 = 32_896  # the middle of 16 bits, as 128 is of 8

# What a camera held in each of the ways does to the upright picture.
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(autouse=True)
def pillow_as_the_program_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # put back afterwards
    take_over_pillow()


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def oriented(image: Image.Image, orientation: int, format: str, **options: object) -> bytes:
    turn = TURNS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image if turn is None else image.transpose(turn)
    return saved(stored, format, exif=exif, **options)


def first_pixel(content: bytes) -> tuple[int, ...]:
    image = decode(content).image
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


def reason(content: bytes, **options: int) -> str:
    with pytest.raises(PhotoError) as caught:
        decode(content, **options)
    return str(caught.value)


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


# Every mode in which a picture can be stored


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        ("RGB", "PNG"), ("RGB", "JPEG"), ("RGB", "TIFF"), ("RGB", "BMP"), ("RGBA", "PNG"),
        ("RGBA", "TIFF"), ("RGBX", "TIFF"), ("P", "PNG"), ("P", "GIF"), ("P", "TIFF"),
        ("PA", "TIFF"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("LAB", "TIFF"),
    ],
)  # fmt: skip
def test_an_opaque_colour_stays_itself_in_every_mode(mode: str, format: str) -> None:
    # Palettes here have 216 colours, so theirs is the nearest one.
    image = Image.new("RGB", (16, 16), ORANGE).convert(mode)
    assert first_pixel(saved(image, format)) == pytest.approx(ORANGE, abs=6)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "PPM", "BMP"])
def test_grey_stays_grey(format: str) -> None:
    assert first_pixel(saved(Image.new("L", (16, 16), 128), format)) == (128, 128, 128)


@pytest.mark.parametrize(("value", "shown"), [(0, 0), (1, 255)])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "BMP"])
def test_one_bit_pictures_are_black_and_white(format: str, value: int, shown: int) -> None:
    assert first_pixel(saved(Image.new("1", (9, 9), value), format)) == (shown,) * 3


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_transparency_is_laid_on_white(mode: str, format: str) -> None:
    assert first_pixel(saved(Image.new("RGBA", (8, 8)).convert(mode), format)) == WHITE


def test_half_transparency_is_half_white() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert first_pixel(saved(image, "PNG")) == pytest.approx((127, 127, 127), abs=1)


def test_transparent_pixels_do_not_show_the_colour_below_them() -> None:
    assert first_pixel(saved(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "PNG")) == WHITE


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_the_transparent_colour_of_a_palette_is_white(format: str) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, *ORANGE])
    image.putpixel((5, 5), 0)
    content = saved(image, format, transparency=0)
    assert first_pixel(content) == ORANGE
    assert decode(content).image.getpixel((5, 5)) == WHITE


@pytest.mark.parametrize(
    ("mode", "colour", "key"), [("L", 10, 10), ("RGB", ORANGE, ORANGE), ("1", 0, 0)]
)
def test_the_transparent_colour_of_a_png_is_white(mode: str, colour: object, key: object) -> None:
    image = Image.new(mode, (8, 8), colour)
    assert first_pixel(saved(image, "PNG", transparency=key)) == WHITE


def grey_16(mode: str = "I;16") -> Image.Image:
    kind = ">u2" if mode == "I;16B" else "<u2"
    return Image.frombytes(mode, (8, 8), np.full((8, 8), GREY_16, kind).tobytes())


@pytest.mark.parametrize(
    ("mode", "format"),
    [("I;16", "PNG"), ("I;16", "TIFF"), ("I;16B", "TIFF"), ("I;16", "JPEG2000")],
)
def test_16_bit_mid_grey_stays_mid_grey(mode: str, format: str) -> None:
    assert first_pixel(saved(grey_16(mode), format)) == (128, 128, 128)


def test_16_bit_pgm_mid_grey_stays_mid_grey() -> None:
    assert first_pixel(saved(Image.new("I", (8, 8), GREY_16), "PPM")) == (128, 128, 128)


def test_16_bit_mid_grey_stays_mid_grey_beside_a_transparent_colour() -> None:
    assert first_pixel(saved(grey_16(), "PNG", transparency=0)) == (128, 128, 128)


def test_16_bit_grey_keeps_its_steps() -> None:
    ramp = np.linspace(0, 65_535, 256).astype(np.uint16)[None, :]
    shown = np.asarray(decode(saved(Image.fromarray(ramp), "PNG")).image)[0, :, 0]
    assert np.abs(shown.astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1000, 3000), (1e-6, 2e-6)])
def test_a_float_tiff_is_shown_over_its_own_range(low: float, high: float) -> None:
    values = np.array([[low, (low + high) / 2, high]], np.float32)
    shown = np.asarray(decode(saved(Image.fromarray(values), "TIFF")).image)
    assert shown[0, :, 0].tolist() == pytest.approx([0, 128, 255], abs=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 7.0])
def test_a_float_tiff_without_a_range_is_a_picture_still(value: float) -> None:
    image = decode(saved(Image.fromarray(np.full((4, 4), value, np.float32)), "TIFF")).image
    assert (image.mode, image.size) == ("RGB", (4, 4))


def test_a_32_bit_tiff_is_shown_over_its_own_range() -> None:
    values = np.array([[0, 500_000, 1_000_000]], np.int32)
    shown = np.asarray(decode(saved(Image.fromarray(values), "TIFF")).image)
    assert shown[0, :, 0].tolist() == pytest.approx([0, 128, 255], abs=1)


# Orientation


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_every_orientation_comes_out_upright(orientation: int, format: str) -> None:
    upright = picture(1, (60, 40))
    photo = decode(oriented(upright, orientation, format))
    assert photo.image.size == upright.size
    assert difference(photo.image, upright) == 0


@pytest.mark.parametrize("orientation", TURNS)
def test_every_orientation_comes_out_upright_at_a_fraction_of_the_size(orientation: int) -> None:
    upright = picture(1, (1600, 1200))
    photo = decode(oriented(upright, orientation, "JPEG", quality=95), min_side=200)
    assert photo.image.size == (400, 300)
    assert difference(photo.image, upright.resize((400, 300))) < 3


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = picture(1, (60, 40))
    assert difference(decode(saved(upright, "PNG", exif=exif)).image, upright) == 0


# Decoding at the size asked for


@pytest.mark.parametrize("min_side", [1, 100, 224, 256, 336, 448, 1000])
@pytest.mark.parametrize("size", [(1600, 1200), (1201, 1999), (448, 448), (2000, 300)])
def test_a_scaled_side_is_never_below_what_was_asked(size: tuple[int, int], min_side: int) -> None:
    image = decode(saved(Image.new("RGB", size), "JPEG"), min_side=min_side).image
    assert min(image.size) >= min(min_side, *size)
    assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.05)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size() -> None:
    photo = decode(saved(picture(1, (4000, 3000)), "JPEG"), min_side=224)
    assert photo.image.size == (500, 375)


def test_the_facts_are_of_the_whole_picture_and_not_of_the_fraction() -> None:
    facts = decode(saved(picture(1, (1600, 1200)), "JPEG"), min_side=100).facts
    assert (facts.width, facts.height) == (1600, 1200)


def test_without_a_side_a_jpeg_is_decoded_whole() -> None:
    assert decode(saved(picture(1, (1600, 1200)), "JPEG")).image.size == (1600, 1200)


def test_a_fraction_shows_the_same_picture() -> None:
    content = saved(picture(2, (1600, 1200)), "JPEG", quality=95)
    small, whole = decode(content, min_side=150).image, decode(content).image
    assert difference(small, whole.resize(small.size, Image.Resampling.BOX)) < 1


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_large_jpeg_that_is_not_rgb_is_decoded_at_a_fraction_too(mode: str) -> None:
    content = saved(picture(1, (1600, 1200)).convert(mode), "JPEG")
    assert decode(content, min_side=150).image.size == (200, 150)


# What is refused, and why


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "AVIF"])
def test_a_truncated_file_gives_a_reason_and_no_picture(format: str, share: float) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8))
    content = saved(noise, format)
    assert_readable(reason(content[: int(len(content) * share)]))


@pytest.mark.parametrize("min_side", [None, 50])
def test_a_truncated_jpeg_says_so(min_side: int | None) -> None:
    content = saved(picture(3), "JPEG")
    with pytest.raises(PhotoError, match="truncated"):
        decode(content[: len(content) // 2], min_side=min_side)


@pytest.mark.parametrize("length", [1, 2, 11, 20, 160])
def test_a_jpeg_cut_in_its_header_gives_a_reason(length: int) -> None:
    assert_readable(reason(saved(picture(3), "JPEG")[:length]))


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zip:
        zip.writestr("photo.jpg", saved(picture(1), "JPEG"))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0", b"hello, this is no picture\n", b"<html><body>404</body></html>",
        bytes(5000), np.random.default_rng(7).bytes(5000), archive(), b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"RIFF\0\0\0\0WEBP", b"P6\n9 9\n255\n",
    ],
    ids=[
        "empty", "one byte", "text", "html", "zeros", "noise", "zip", "jpeg start", "png start",
        "gif start", "tiff start", "webp start", "ppm start",
    ],
)  # fmt: skip
def test_what_is_no_picture_gives_a_reason(content: bytes) -> None:
    assert_readable(reason(content))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_damaged_bytes_give_a_picture_or_a_reason(format: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(saved(picture(4, (64, 48)), format))
    for place in rng.integers(4, len(content), 12):
        content[place] = rng.integers(256)
    try:
        assert decode(bytes(content), min_side=32).image.mode == "RGB"
    except PhotoError as error:
        assert_readable(str(error))


def assert_readable(message: str) -> None:
    assert message
    assert "\n" not in message
    assert "<_io.BytesIO" not in message


def test_a_picture_above_the_limit_is_refused_with_its_size() -> None:
    content = saved(Image.new("L", (3000, 2000)), "PNG")
    assert "3000x2000" in reason(content, max_pixels=5_999_999)
    assert decode(content, max_pixels=6_000_000).image.size == (3000, 2000)


@pytest.mark.parametrize("format", ["PNG", "GIF", "TIFF", "WEBP", "BMP", "JPEG"])
def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(
    format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = saved(Image.new("L", (3000, 2000)), format)
    decoded = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda self: (decoded.append(self.size), load(self))[1]
    )
    assert "above the limit" in reason(content, max_pixels=1_000_000)
    assert decoded == []


def test_a_jpeg_above_the_limit_is_decoded_at_a_fraction() -> None:
    content = saved(Image.new("RGB", (4000, 3000), ORANGE), "JPEG")
    assert "4000x3000" in reason(content, max_pixels=1_000_000)
    assert decode(content, min_side=224, max_pixels=1_000_000).image.size == (500, 375)


def test_a_jpeg_that_pillow_alone_would_refuse_is_decoded_at_a_fraction() -> None:
    content = saved(Image.new("L", (20_000, 9_000), 90), "JPEG")
    image = decode(content, min_side=224).image
    assert (image.size, image.getpixel((9, 9))) == ((2500, 1125), (90, 90, 90))


def test_a_limit_of_pillow_that_is_in_force_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "MAX_IMAGE_PIXELS" in reason(saved(Image.new("L", (64, 64)), "PNG"))


# Kinds of files


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(format: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in (ORANGE, "blue", "green")]
    content = saved(frames[0], format, save_all=True, append_images=frames[1:], duration=50)
    assert first_pixel(content) == pytest.approx(ORANGE, abs=4)


def moving(format: str, frames: int = 9) -> bytes:
    shades = [Image.new("RGB", (32, 32), (n * 25, 99, 255 - n * 25)) for n in range(frames)]
    return saved(shades[0], format, save_all=True, append_images=shades[1:], duration=50)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [(1, [0]), (2, [0, 4]), (3, [0, 3, 6]), (9, [*range(9)]), (50, [*range(9)])],
)
@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_evenly_spaced_frames_of_an_animation(format: str, wanted: int, numbers: list[int]) -> None:
    frames = decode_frames(moving(format), wanted)
    assert {frame.mode for frame in frames} == {"RGB"}
    shades = [frame.getpixel((9, 9))[0] for frame in frames]
    assert shades == pytest.approx([n * 25 for n in numbers], abs=5)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "GIF"])
def test_what_does_not_move_is_one_frame(format: str) -> None:
    content = saved(picture(1), format)
    (frame,) = decode_frames(content, 5, min_side=100)
    assert difference(frame, decode(content, min_side=100).image) == 0


def test_the_pages_of_a_tiff_are_no_frames() -> None:
    assert len(decode_frames(moving("TIFF"), 5)) == 1


def test_an_animation_that_breaks_off_is_the_frames_before() -> None:
    noise = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 40, 3), np.uint8))
             for n in range(6)]  # fmt: skip
    content = saved(noise[0], "GIF", save_all=True, append_images=noise[1:])
    assert 1 <= len(decode_frames(content[: len(content) // 2], 6)) < 6
    with pytest.raises(PhotoError):
        decode_frames(content[:500], 6)


def test_frames_that_are_too_many_to_hold_are_fewer() -> None:
    assert len(decode_frames(moving("GIF"), 9, max_pixels=32 * 32 * 3)) == 3


@pytest.mark.parametrize(("wanted", "turns"), [(4, 0), (5, 1), (9, 1)])
def test_frames_that_are_large_together_are_decoded_in_turn(wanted: int, turns: int) -> None:
    taken = []

    @contextmanager
    def turn() -> Iterator[None]:
        taken.append(1)
        yield

    decode_frames(moving("GIF"), wanted, turn=turn(), large=32 * 32 * 4)
    assert len(taken) == turns


def test_of_a_multi_picture_jpeg_the_first_counts() -> None:
    first, second = picture(1, (800, 600)), picture(2, (800, 600))
    content = saved(first, "MPO", save_all=True, append_images=[second], quality=95)
    image = decode(content, min_side=100).image
    assert image.size == (200, 150)
    assert difference(image, first.resize((200, 150))) < 3


@pytest.mark.parametrize("format", ["AVIF", "WEBP", "JPEG2000", "PPM", "GIF", "BMP", "TIFF"])
def test_every_format_that_is_listed_opens(format: str) -> None:
    image = picture(5)
    shown = decode(saved(image, format), min_side=100).image
    assert shown.size == image.size
    assert difference(shown, image) < 8


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_extreme_sizes_open(format: str, size: tuple[int, int]) -> None:
    assert decode(saved(Image.new("RGB", size), format), min_side=224).image.size == size


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\xff\xff\xff\xff", bytes(40)]
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_cost_the_picture(format: str, exif: bytes) -> None:
    photo = decode(saved(picture(6), format, exif=exif))
    assert photo.image.size == picture(6).size
    assert (photo.facts.width, photo.facts.taken_at) == (320, None)


def test_exif_cut_in_its_middle_does_not_cost_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0110] = "A camera with quite a long name"
    exif[0x0112] = 6
    whole = exif.tobytes()
    for length in range(6, len(whole)):
        photo = decode(saved(picture(6, (32, 24)), "JPEG", exif=whole[:length]))
        assert sorted(photo.image.size) == [24, 32]


# Files on the disk


def test_the_bytes_of_a_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    assert read_file(tmp_path / "a.jpg") == b"abc"


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(PhotoError, match=r"^the file is empty$"):
        read_file(tmp_path / "a.jpg")


def test_a_file_that_cannot_be_read_gives_the_reason_alone(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"^No such file or directory$"):
        read_file(tmp_path / "gone.jpg")
    with pytest.raises(PhotoError, match=r"^Is a directory$"):
        read_file(tmp_path)


def test_what_is_decoded_is_a_photo_of_an_image_and_facts() -> None:
    photo = decode(saved(picture(1), "JPEG"))
    assert isinstance(photo, Photo)
    assert (photo.image.size, photo.facts.width) == ((320, 240), 320)


# What is nearly whole, and what would be shown wrongly


@pytest.mark.parametrize("min_side", [None, 100])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_its_end_is_read_and_marked(mode: str, min_side: int | None) -> None:
    content = saved(picture(3, (1600, 1200)).convert(mode), "JPEG", quality=85)
    whole = decode(content, min_side)
    assert whole.facts.flaw is None
    for trailer in (bytes(9000), b"\xff\xd9\xff\xda more"):
        assert decode(content + trailer, min_side).facts.flaw is None
    for cut in (content[:-2], content[: len(content) * 99 // 100], content[:-50] + bytes(9000)):
        nearly = decode(cut, min_side)
        assert nearly.facts.flaw == "its end is missing"
        assert difference(whole.image, nearly.image) < 5
    for half in (content[: len(content) // 2], content[: len(content) // 2] + bytes(len(content))):
        assert "truncated" in reason(half)


def test_a_size_behind_a_byte_that_fills_is_seen() -> None:
    content = saved(picture(3), "JPEG", progressive=True)
    frame = content.index(b"\xff\xc2") + 5
    large = content[:frame] + b"\xff\xf0\xff\xf0" + content[frame + 4 :]
    # Who takes the first byte of the three for a marker goes on behind the frame that counts.
    scan = b"\xff\xc0\0\x11\x08\0\x08\0\x08\x03" + bytes(9) + b"\xff\xda\0\x0c\x03" + bytes(9)
    hidden = bytearray(0xF000 - 2)
    hidden[0xE1F0 + 4 - 7 : 0xE1F0 + 4 - 7 + len(scan)] = scan
    filled = large[:2] + b"\xff\xff\xe1\xf0\0" + bytes(hidden) + large[2:]
    assert "above the limit" in reason(filled, min_side=50)


@pytest.mark.parametrize(
    ("values", "how"),
    [
        (np.zeros((3, 40, 40), np.uint16), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.zeros((40, 40), np.uint16), {"photometric": "miniswhite"}),
        (np.zeros((40, 40), np.uint32), {"photometric": "minisblack"}),
        (np.zeros((40, 40), np.int16), {"photometric": "minisblack"}),
        (np.zeros((40, 40, 3), np.float32), {"photometric": "rgb"}),
    ],
)
def test_a_tiff_that_would_be_shown_wrongly_is_refused(
    values: np.ndarray, how: dict[str, str]
) -> None:
    tifffile = pytest.importorskip("tifffile")
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **how)
    assert reason(stream.getvalue()).startswith("a TIFF of a kind that is not read")
