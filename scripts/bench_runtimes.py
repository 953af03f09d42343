"""How fast one model is, and how exact, as torch and as ONNX Runtime run it.

    python scripts/bench_runtimes.py --model ViT-B-32-256:b32.safetensors

The model is exported in full, in fp16 and in 8 bits, and its image tower calibrated in 8 bits, as
`clipsearch index --precision int8` does, on pictures made for it. Torch in fp32 and in bf16, ONNX
in fp32, in fp16 and each in int8 then embed the same batches of views and captions, and OpenVINO
the views, in turns, so that a slow minute of the machine is one for all of them. Told are medians,
their ratio to torch in fp32, and the cosines with what that gave. Random weights have the speed of
trained ones; their cosines say nothing about those of trained ones in 8 bits.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from clipsearch.encoders import Encoder, load, parse_spec
from clipsearch.encoders.onnx.calibrating import quantize_on
from clipsearch.encoders.onnx.encoder import OnnxEncoder
from clipsearch.encoders.onnx.export import export_model
from clipsearch.encoders.onnx.folder import IMAGES
from clipsearch.encoders.onnx.openvino import Tower, version
from clipsearch.encoders.onnx.probes import made_views
from clipsearch.encoders.onnx.texts import ExportedTexts
from clipsearch.encoders.processor import bf16

WORDS = ("a", "dog", "on", "the", "beach", "two", "children", "play", "near", "red", "car", "sea")


def captions(count: int) -> list[str]:
    """Made-up captions of 4 to 15 words."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, 4 + number % 12)) for number in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, default=32, help="views, and texts, at a time")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        full, half, small = (Path(folder) / name for name in ("fp32", "fp16", "int8"))
        for place in (full, half, small):
            for tower in export_model(parse_spec(given.model), place, place.name):
                print(f"{tower.name} {tower.precision}: least cosine {tower.cosine:.5f}")
        runners = {
            "torch fp32": load(parse_spec(given.model), "cpu", "fp32"),
            "torch bf16": load(parse_spec(given.model), "cpu", "bf16"),
            "ONNX fp32": load(parse_spec(f"onnx:{full}"), "cpu"),
            "ONNX fp16": load(parse_spec(f"onnx:{half}"), "cpu"),
            "ONNX int8": load(parse_spec(f"onnx:{small}"), "cpu"),
        }
        calibrated = Path(folder) / "calibrated"
        encoder = runners["ONNX fp32"]
        assert isinstance(encoder, OnnxEncoder)
        calibrated.mkdir()
        quantize_on(
            encoder.image_file, made_views(encoder, 48), calibrated / IMAGES, lambda count: None
        )
        facts = replace(encoder.facts, precision="int8", files={})
        small_images = OnnxEncoder(calibrated, facts, full / "text", "cpu", checked=False)
        views, texts = made_views(runners["torch fp32"], given.batch), captions(given.batch)
        print(f"\n{given.model}, batches of {given.batch}, medians of {given.rounds} rounds\n")
        # Texts as a process that stays reads them, which packs the weights once.
        staying = {"ONNX fp32": full, "ONNX fp16": half, "ONNX int8": small}
        text_runners = {
            name: ExportedTexts(staying[name] / "text", stay=True) if name in staying else runner
            for name, runner in runners.items()
        }
        seeing = {**runners, "ONNX int8, calibrated": small_images}
        eyes = {name: runner.encode_images for name, runner in seeing.items()}
        if version():
            eyes |= {
                f"OpenVINO {precision}": Tower(encoder.image_file, precision)
                for precision in (*(["bf16"] if bf16() else []), "fp32")
            }
            eyes["OpenVINO int8, calibrated"] = Tower(calibrated / IMAGES, "fp32")
        table("images", {name: partial(eye, views) for name, eye in eyes.items()}, given)
        table("one image", {name: partial(eye, views[:1]) for name, eye in eyes.items()}, given)
        table("texts", {n: encode_texts(it, texts) for n, it in text_runners.items()}, given)
        table("one text", {n: encode_texts(it, texts[:1]) for n, it in text_runners.items()}, given)


def encode_texts(runner: Encoder | ExportedTexts, texts: list[str]) -> Callable[[], np.ndarray]:
    return lambda: runner.encode_texts(texts)


def table(what: str, calls: dict[str, Callable[[], np.ndarray]], given: argparse.Namespace) -> None:
    """Print a row a runtime: rate, ratio to the first, least and mean cosine with the first."""
    rows = {name: call() for name, call in calls.items()}  # which also warms up
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(given.rounds):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begun)
    first, *_ = rows
    base = statistics.median(seconds[first])
    print(f"| {what} | per second | seconds | times torch fp32 | least cosine | mean cosine |")
    print("|---|---|---|---|---|---|")
    for name, found in rows.items():
        took = statistics.median(seconds[name])
        cosines = (found * rows[first]).sum(axis=1)
        print(
            f"| {name} | {len(found) / took:.1f} | {took:.3f} | {base / took:.2f} |"
            f" {cosines.min():.5f} | {cosines.mean():.5f} |"
        )
    print()


if __name__ == "__main__":
    main()
