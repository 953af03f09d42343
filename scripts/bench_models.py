"""How much work one photo is for the image towers of open_clip's families.

    python scripts/bench_models.py [ARCHITECTURE ...]

Each architecture is built with random weights, which have the speed of trained ones, and embeds the
same few views in turns with ViT-B-32-256, in fp32 and on one thread: the ratio of the medians is
what docs/models.md calls the work a photo. Decoding is left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import open_clip
import torch

BASE = "ViT-B-32-256"
FAMILIES = (
    "ViT-B-32", "ViT-B-16", "ViT-L-14-336-quickgelu", "convnext_base_w", "EVA02-B-16",
    "coca_ViT-B-32", "MobileCLIP2-S0", "MobileCLIP2-S2", "ViT-B-16-SigLIP2-256",
    "PE-Core-L-14-336",
)  # fmt: skip
VIEWS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architectures", nargs="*", default=FAMILIES)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    base, _ = built(BASE)
    print(f"| architecture | parameters (M) | pixels | a photo | times {BASE} |")
    print("|---|---|---|---|---|")
    for name in given.architectures:
        model, parameters = built(name)
        took, unit = medians([model, base], given.rounds)
        pixels = model.visual.preprocess_cfg["size"]
        side = pixels if isinstance(pixels, int) else pixels[0]
        print(f"| `{name}` | {parameters / 1e6:.1f} | {side} | {took:.3f} s | {took / unit:.2f} |")


def built(name: str) -> tuple[Any, int]:
    """An architecture with random weights, and how many numbers both its towers have."""
    model = open_clip.create_model(name, pretrained=None).eval()
    return model, sum(part.numel() for part in model.parameters())


@torch.inference_mode()
def medians(models: list[Any], rounds: int) -> list[float]:
    """Seconds that each takes for one photo, measured in turns after a first one that warms up."""
    seconds: list[list[float]] = [[] for _ in models]
    for number in range(rounds + 1):
        for model, taken in zip(models, seconds, strict=True):
            side = model.visual.preprocess_cfg["size"]
            side = side if isinstance(side, int) else side[0]
            views = torch.zeros((VIEWS, 3, side, side))
            begun = time.perf_counter()
            model.encode_image(views)
            if number:
                taken.append((time.perf_counter() - begun) / VIEWS)
    return [statistics.median(taken) for taken in seconds]


if __name__ == "__main__":
    main()
