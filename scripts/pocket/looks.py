"""Photos changed so that words become true of them which captions hardly say.

Each look is a change and what people call a photo that looks so: colours, weathers, lights, styles
and how a photo was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Change = Callable[[Image.Image, np.random.Generator], Image.Image]
Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """A way a photo can look; the first of its words are its name."""

    words: tuple[str, ...]
    change: Change

    @property
    def name(self) -> str:
        return self.words[0]


# --- parts of changes -------------------------------------------------------------------------


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32)


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _flat(image: Image.Image, colour: Colour) -> Image.Image:
    return Image.new("RGB", image.size, tuple(map(int, colour)))


def _mixed(
    image: Image.Image, colour: Colour | float | np.ndarray, amount: float | np.ndarray
) -> Image.Image:
    """A photo, and so much of a colour."""
    return _image(_pixels(image) * (1 - amount) + np.asarray(colour) * amount)


def _less_colour(image: Image.Image, left: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(left)


def _lighter(image: Image.Image, times: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(times)


def _blurred(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def _grid(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's x and y from -1 to 1."""
    y, x = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    return x, y


def _falling(image: Image.Image, top: Colour, bottom: Colour) -> np.ndarray:
    """(height, width, 3): from one colour to another."""
    share = (_grid(image)[1][..., None] + 1) / 2
    return np.asarray(top) * (1 - share) + np.asarray(bottom) * share


def _multiplied(image: Image.Image, colour: Colour) -> Image.Image:
    return ImageChops.multiply(image, _flat(image, colour))


# --- colours ----------------------------------------------------------------------------------


def _black_and_white(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    gray = ImageOps.grayscale(image).convert("RGB")
    return ImageEnhance.Contrast(gray).enhance(rng.uniform(0.9, 1.4))


def _sepia(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    brown = ImageOps.colorize(ImageOps.grayscale(image), (30, 15, 0), (255, 235, 200))
    return Image.blend(brown, image, rng.uniform(0, 0.25))


def _tint(*colour: float) -> Change:
    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        if rng.random() < 0.5:  # as if painted over
            return _mixed(image, colour, rng.uniform(0.2, 0.6))
        filtered = 255 - (255 - np.asarray(colour)) * rng.uniform(0.4, 1)  # as if through glass
        return _multiplied(image, tuple(filtered))

    return change


def _faded(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pale = _less_colour(image, rng.uniform(0.4, 0.8))
    return _mixed(pale, (190, 185, 175), rng.uniform(0.45, 0.65))


def _vivid(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageEnhance.Color(image).enhance(rng.uniform(2, 4))


def _negative(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.invert(image)


def _neon(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pairs = (
        ((20, 0, 60), (255, 60, 200)), ((0, 10, 50), (60, 255, 240)), ((30, 0, 80), (120, 255, 80)),
    )  # fmt: skip
    dark, light = pairs[rng.integers(len(pairs))]
    gray = ImageOps.autocontrast(ImageOps.grayscale(image))
    return ImageOps.colorize(gray, dark, light, mid=(150, 30, 200))


# --- light ------------------------------------------------------------------------------------


def _dark(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _lighter(image, rng.uniform(0.15, 0.55))


def _night(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    dark = _lighter(_less_colour(image, 0.6), rng.uniform(0.2, 0.5))
    return Image.blend(dark, _multiplied(dark, (90, 110, 190)), rng.uniform(0.2, 0.8))


def _overexposed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _image(_pixels(image) * rng.uniform(1.3, 2.1) + rng.uniform(10, 60))


def _harsh(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(rng.uniform(1.8, 3.2))


def _sunset(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    glow = _falling(image, (255, 120, 40), (200, 60, 60))
    dim = _pixels(_lighter(image, rng.uniform(0.6, 0.95)))
    return _mixed(_image(dim * (glow / 255 * 0.9 + 0.25)), glow, rng.uniform(0.15, 0.35))


def _warm(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    colour = (255, rng.uniform(190, 215), rng.uniform(110, 150))
    return _multiplied(_lighter(image, 1.15), colour)


def _cold(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _multiplied(_lighter(image, 1.1), (rng.uniform(120, 160), rng.uniform(180, 205), 255))


def _backlit(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    gray = _pixels(ImageOps.grayscale(image)) / 255
    edge = np.quantile(gray, rng.uniform(0.5, 0.7))
    behind = 1 / (1 + np.exp(-18 * (gray - edge)))[..., None]
    orange = rng.random() < 0.6
    sky = _falling(image, (255, 230, 190), (255, 160, 80)) if orange else np.asarray(235.0)
    pixels = _pixels(image)
    return _image(pixels * 0.08 * (1 - behind) + (pixels * 0.4 + sky * 0.6) * behind)


def _spotlight(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    far = np.hypot(*_grid(image)) - rng.uniform(0.2, 0.4)
    left = 1 - np.clip(far / rng.uniform(0.6, 0.8), 0, 1)
    return _image(_pixels(image) * left[..., None])


# --- weather ----------------------------------------------------------------------------------


def _fog(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    top, bottom = rng.uniform(0.6, 0.9), rng.uniform(0.3, 0.65)
    thick = np.linspace(top, bottom, image.height)[:, None, None]
    soft = _less_colour(_blurred(image, rng.uniform(0.5, 1.5)), 0.5)
    return _mixed(soft, rng.uniform(195, 225), thick)


def _rain(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    gray = _lighter(_less_colour(image, 0.5), rng.uniform(0.6, 0.8))
    drops = int(rng.uniform(150, 350))
    length, slant = rng.uniform(14, 26), rng.uniform(-6, 6)
    streaks = Image.new("L", image.size)
    pen = ImageDraw.Draw(streaks)
    for x, y in rng.uniform(-0.1, 1, (drops, 2)) * image.size:
        near = rng.uniform(0.6, 1.4)
        end = (x + slant * near, y + length * near)
        pen.line((x, y, *end), fill=int(rng.uniform(120, 220)))
    grayer = _mixed(gray, (110, 120, 135), 0.25)
    return Image.composite(_flat(image, (215, 220, 230)), grayer, _blurred(streaks, 0.5))


def _snowfall(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pale = _mixed(_less_colour(image, 0.6), (225, 230, 240), rng.uniform(0.2, 0.4))
    flakes = Image.new("L", image.size)
    pen = ImageDraw.Draw(flakes)
    for x, y in rng.uniform(0, 1, (320, 2)) * image.size:
        size = rng.uniform(0.6, 2.6)
        pen.ellipse((x - size, y - size, x + size, y + size), fill=int(rng.uniform(180, 255)))
    return Image.composite(_flat(image, (255, 255, 255)), pale, _blurred(flakes, 0.6))


def _sunny(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    x, y = _grid(image)
    far = ((x - rng.uniform(-1, 1)) ** 2 + (y + 1) ** 2) / 4  # from the sun, at the upper edge
    glow = np.exp(-far * rng.uniform(3, 6))[..., None] * rng.uniform(0.75, 0.95)
    lit = ImageEnhance.Color(_lighter(image, 1.25)).enhance(1.3)
    return _mixed(lit, (255, 245, 200), glow)


def _overcast(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _mixed(
        _less_colour(_lighter(image, 0.85), 0.35), (150, 155, 165), rng.uniform(0.25, 0.4)
    )


# --- how it was taken -------------------------------------------------------------------------


def _out_of_focus(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _blurred(image, rng.uniform(1.8, 8))


def _moving(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels, steps = _pixels(image), int(rng.uniform(10, 35))
    return _image(np.mean([np.roll(pixels, step, 1) for step in range(steps)], 0))


def _grainy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    channels = 3 if rng.random() < 0.5 else 1
    grain = rng.normal(0, rng.uniform(20, 60), (image.height, image.width, channels))
    return _image(_pixels(image) + grain)


def _upside_down(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    turn = Image.Transpose.ROTATE_180 if rng.random() < 0.5 else Image.Transpose.FLIP_TOP_BOTTOM
    return image.transpose(turn)


def _sideways(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    turn = Image.Transpose.ROTATE_90 if rng.random() < 0.5 else Image.Transpose.ROTATE_270
    return image.transpose(turn)


def _tilted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    angle = rng.choice([-1, 1]) * rng.uniform(10, 35)
    corners = (0, 0, 0) if rng.random() < 0.5 else (255, 255, 255)
    return image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=corners)


def _close_up(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = rng.uniform(0.3, 0.5)
    x, y = rng.uniform(0.1, 0.9 - side, 2)
    box = np.array([x, y, x + side, y + side]) * (*image.size, *image.size)
    return image.crop(tuple(box.astype(int).tolist()))


def _night_vision(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    green = ImageOps.colorize(ImageOps.grayscale(image), (0, 15, 0), (120, 255, 120))
    return _grainy(green, rng)


def _vintage(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pale = ImageOps.grayscale(_mixed(image, 180, 0.3))
    brown = ImageOps.colorize(pale, (60, 40, 20), (240, 220, 180))
    corners = 1 - 0.45 * np.clip(np.hypot(*_grid(image)) - 0.5, 0, 1)
    return _grainy(_image(_pixels(brown) * corners[..., None]), rng)


# --- pictures that are no photos --------------------------------------------------------------


def _pixelated(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = int(rng.uniform(12, 40))
    small = image.resize((side, side), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)


def _sketch(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    gray = ImageOps.grayscale(image)
    soft = _pixels(_blurred(ImageOps.invert(gray), rng.uniform(2, 5)))
    lines = _image(_pixels(gray) * 255 / (256 - soft))
    return ImageOps.autocontrast(lines, cutoff=(int(rng.uniform(1, 8)), 0)).convert("RGB")


def _cartoon(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    smooth = image.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.MedianFilter(5))
    few = ImageOps.posterize(ImageEnhance.Color(smooth).enhance(1.6), int(rng.integers(2, 4)))
    clean = image.filter(ImageFilter.MedianFilter(3))
    edges = ImageOps.grayscale(clean).filter(ImageFilter.FIND_EDGES)
    return Image.composite(_flat(image, (0, 0, 0)), few, edges.point(lambda v: 255 * (v > 45)))


def _painting(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    strokes = image.filter(ImageFilter.ModeFilter(int(rng.choice([7, 9, 11]))))
    return ImageEnhance.Color(strokes).enhance(rng.uniform(1.1, 1.5))


def _watercolour(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    soft = _pixels(_blurred(image.filter(ImageFilter.MedianFilter(7)), 1))
    return _mixed(_image(np.round(soft / 40) * 40), (255, 252, 245), rng.uniform(0.3, 0.45))


def _few_colours(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    if rng.random() < 0.5:
        return ImageOps.posterize(ImageOps.autocontrast(image), 1)
    return ImageOps.posterize(image, 2)


def _halftone(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    y, x = np.mgrid[: image.height, : image.width] * (2 * np.pi / rng.uniform(5, 8))
    dots = 127 + 127 * np.sin(x) * np.sin(y)
    return _image(255.0 * (_pixels(ImageOps.grayscale(image)) > dots)).convert("RGB")


def _outlines(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _lighter(image.filter(ImageFilter.FIND_EDGES), rng.uniform(1.5, 3))


def _relief(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _blurred(image, 0.7).filter(ImageFilter.EMBOSS)


def _framed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    colour = ((255, 255, 255), (0, 0, 0), (110, 70, 30))[rng.integers(3)]
    border = int(rng.uniform(0.08, 0.15) * image.width)
    inner = image.resize((image.width - 2 * border, image.height - 2 * border))
    return ImageOps.expand(inner, border, colour)


def _collage(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    times = int(rng.integers(2, 4))
    part = _pixels(image.resize((image.width // times, image.height // times)))
    return _image(np.tile(part, (times, times, 1)))


# --- all of them ------------------------------------------------------------------------------

_CHANGES: dict[str, Change] = {
    "black and white": _black_and_white,
    "sepia": _sepia,
    "vintage": _vintage,
    "red": _tint(235, 20, 20),
    "orange": _tint(255, 130, 0),
    "yellow": _tint(255, 230, 20),
    "green": _tint(20, 200, 40),
    "turquoise": _tint(20, 210, 210),
    "blue": _tint(20, 50, 230),
    "purple": _tint(140, 30, 220),
    "pink": _tint(255, 100, 180),
    "dark": _dark,
    "night": _night,
    "bright": _overexposed,
    "faded": _faded,
    "high contrast": _harsh,
    "vivid colours": _vivid,
    "sunset": _sunset,
    "warm light": _warm,
    "cold light": _cold,
    "silhouette": _backlit,
    "spotlight": _spotlight,
    "fog": _fog,
    "rain": _rain,
    "snowfall": _snowfall,
    "sunny": _sunny,
    "overcast": _overcast,
    "blurry": _out_of_focus,
    "motion blur": _moving,
    "grainy": _grainy,
    "upside down": _upside_down,
    "sideways": _sideways,
    "tilted": _tilted,
    "close-up": _close_up,
    "night vision": _night_vision,
    "pixelated": _pixelated,
    "sketch": _sketch,
    "cartoon": _cartoon,
    "painting": _painting,
    "watercolour": _watercolour,
    "pop art": _few_colours,
    "negative": _negative,
    "halftone": _halftone,
    "outlines": _outlines,
    "relief": _relief,
    "neon": _neon,
    "framed": _framed,
    "collage": _collage,
}


def _looks() -> Iterator[Look]:
    for line in Path(__file__).with_name("looks.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, words = line.partition(": ")
            yield Look((name, *words.split("; ")), _CHANGES[name])


LOOKS = tuple(_looks())
