"""Copy the photographs that scikit-image and scikit-learn carry into a folder, by what they show.

Usage: python scripts/sample_photos.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

# Package folder and file, by the name the copy gets.
PHOTOS = {
    "astronaut.png": ("skimage", "data/astronaut.png"),
    "brick-wall.png": ("skimage", "data/brick.png"),
    "cat.png": ("skimage", "data/chelsea.png"),
    "clock.png": ("skimage", "data/clock_motion.png"),
    "coffee.png": ("skimage", "data/coffee.png"),
    "coins.png": ("skimage", "data/coins.png"),
    "galaxies.jpg": ("skimage", "data/hubble_deep_field.jpg"),
    "grass.png": ("skimage", "data/grass.png"),
    "gravel.png": ("skimage", "data/gravel.png"),
    "moon.png": ("skimage", "data/moon.png"),
    "motorcycle.png": ("skimage", "data/motorcycle_left.png"),
    "page-of-text.png": ("skimage", "data/page.png"),
    "photographer.png": ("skimage", "data/camera.png"),
    "retina.jpg": ("skimage", "data/retina.jpg"),
    "rocket.jpg": ("skimage", "data/rocket.jpg"),
    "temple.jpg": ("sklearn", "datasets/images/china.jpg"),
    "flower.jpg": ("sklearn", "datasets/images/flower.jpg"),
}


def copy_photos(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (package, inside) in PHOTOS.items():
        if not (folder / name).exists():
            shutil.copy(package_folder(package) / inside, folder / name)


def package_folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"{package} is not installed: pip install 'clipsearch[samples]'")
    return Path(spec.origin).parent


if __name__ == "__main__":
    copy_photos(Path(sys.argv[1]))
