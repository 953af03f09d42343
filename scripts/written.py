"""Pictures with text in them, drawn on the spot: receipts, screenshots, signs."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

WHITE, BLACK = (255, 255, 255), (20, 20, 20)
Colour = tuple[int, int, int]

COLOURS = ("Amber", "Crimson", "Emerald", "Indigo", "Ivory", "Scarlet", "Silver", "Violet")
ANIMALS = ("Badger", "Beaver", "Dolphin", "Falcon", "Heron", "Lynx", "Marten", "Otter", "Puffin",
           "Walrus", "Weasel")  # fmt: skip
SHOPS = (
    "Hardware Brothers", "Corner Bakery", "Green Grocer", "Harbour Books", "Lisbon Coffee",
    "Northern Garden", "Old Town Pharmacy", "Riverside Market", "Sunset Flowers", "Village Cheese",
)  # fmt: skip
GOODS = (
    "screwdriver", "paint brush", "wood glue", "hammer", "light bulb", "copper wire", "sand paper",
    "rye bread", "apple juice", "green tea", "olive oil", "sea salt", "oat milk", "dark chocolate",
    "tomatoes", "red onions", "goat cheese", "wall calendar", "travel guide", "garden hose",
)  # fmt: skip
SETTINGS = (
    "Wireless network", "Battery saver", "Screen brightness", "Privacy settings", "Shared folder",
    "Keyboard layout", "Notification sound", "Storage space", "Dark theme", "Update history",
    "Mobile hotspot", "Printer queue", "Time zone", "Default browser", "Airplane mode",
)  # fmt: skip


def letters(size: int) -> Any:
    """Pillow's own font, which every machine has; it is of Latin letters alone."""
    return ImageFont.load_default(size)


def sign(
    text: str, size: int = 48, colour: Colour = BLACK, on: Colour | Image.Image = WHITE,
    tilt: float = 0.0, at: tuple[int, int] = (40, 60), sides: tuple[int, int] = (900, 300),
) -> Image.Image:  # fmt: skip
    """One line of text on a colour or a picture, tilted by so many degrees."""
    picture = on.copy() if isinstance(on, Image.Image) else Image.new("RGB", sides, on)
    layer = Image.new("L", picture.size, 0)
    ImageDraw.Draw(layer).text(at, text, fill=255, font=letters(size))
    layer = layer.rotate(tilt, Image.Resampling.BICUBIC)
    picture.paste(colour, mask=layer)
    return picture


def noise(sides: tuple[int, int] = (900, 300), seed: int = 0) -> Image.Image:
    """A rough surface, as of a photo: soft spots of many colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, (sides[1] // 30, sides[0] // 30, 3)).astype(np.uint8)
    soft = Image.fromarray(coarse).resize(sides, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 12, (sides[1], sides[0], 3))
    return Image.fromarray(np.clip(np.asarray(soft) + grain, 0, 255).astype(np.uint8))


def page(lines: int = 50) -> tuple[Image.Image, list[str]]:
    """A page of a book as a camera sees it: 12 megapixels, and its lines."""
    draw = random.Random(5)
    rows = [" ".join(draw.choice(GOODS) for _ in range(6)) for _ in range(lines)]
    picture = Image.new("RGB", (3000, 4000), (235, 232, 225))
    brush = ImageDraw.Draw(picture)
    for row, text in enumerate(rows):
        brush.text((250, 250 + 70 * row), text, (40, 40, 40), letters(34))
    return picture, rows


def in_script(text: str, size: int = 48) -> Image.Image:
    """A line in any script, by the font for all of them that OpenCV from 5 on comes with."""
    import cv2

    picture = np.full((160, 80 + size * 2 * len(text), 3), 255, np.uint8)
    cv2.putText(picture, text, (40, 100), (20, 20, 20), cv2.FontFace("uni"), size)
    _, _, right, _ = ImageOps.invert(Image.fromarray(picture)).getbbox() or (0, 0, 0, 0)
    return Image.fromarray(picture[:, : right + 40])


def has_scripts() -> bool:
    """Whether there is such a font."""
    try:
        import cv2
    except ImportError:
        return False
    return hasattr(cv2, "FontFace")


def receipt(seed: int) -> tuple[Image.Image, str]:
    """A receipt that lies a little askew on a rough table, and two words that it alone has."""
    draw = random.Random(seed)
    own = own_words(seed)
    goods = draw.sample(GOODS, draw.randint(4, 8))
    prices = [draw.randint(99, 4999) for _ in goods]
    rows = [(name, f"{price / 100:.2f}") for name, price in zip(goods, prices, strict=True)]
    total = ("Total EUR", f"{sum(prices) / 100:.2f}")
    lines = [(draw.choice(SHOPS), ""), (f"Order: {own}", ""), *rows, total, ("Thank you", "")]
    paper = Image.new("RGBA", (560, 60 + 52 * len(lines)), (246, 244, 238, 255))
    brush = ImageDraw.Draw(paper)
    for row, (left, right) in enumerate(lines):
        brush.text((30, 30 + 52 * row), left, (50, 50, 55), letters(30))
        brush.text((530, 30 + 52 * row), right, (50, 50, 55), letters(30), anchor="ra")
    askew = paper.rotate(draw.uniform(-6, 6), Image.Resampling.BICUBIC, expand=True)
    photo = noise((900, 900), seed)
    photo.paste(askew, (120, 40), askew)
    return photo, own


def screenshot(seed: int) -> tuple[Image.Image, str]:
    """A page of settings on a telephone, light or dark, and two words that it alone has."""
    draw = random.Random(seed)
    own = own_words(seed)
    back, ink, faint = draw.choice(
        [((250, 250, 252), (25, 25, 30), (120, 120, 130)), ((18, 18, 22), (235, 235, 240),
         (140, 140, 150))]
    )  # fmt: skip
    screen = Image.new("RGB", (720, 1280), back)
    brush = ImageDraw.Draw(screen)
    brush.text((40, 24), f"{draw.randint(0, 23):02}:{draw.randint(0, 59):02}", faint, letters(26))
    brush.text((40, 90), "Settings", ink, letters(52))
    for row, name in enumerate(draw.sample(SETTINGS, 9)):
        brush.text((40, 210 + 110 * row), name, ink, letters(32))
        brush.text(
            (40, 252 + 110 * row), draw.choice(("On", "Off", "Automatic")), faint, letters(24)
        )
    brush.text((40, 1215), f"Signed in as {own}", faint, letters(26))
    return screen, own


def own_words(seed: int) -> str:
    """Two words that go together on one picture only."""
    first, second = divmod(seed * 37 % (len(COLOURS) * len(ANIMALS)), len(ANIMALS))
    return f"{COLOURS[first]} {ANIMALS[second]}"
