"""docs/sources.md from its first line to its last: every command of it, with small weights."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import captioners
import pytest
import test_chinese
import torch
from captioners import COLOURS, SIDE, wall
from PIL import Image

PAGE = Path(__file__).parent.parent / "docs" / "sources.md"
COMMANDS = re.findall(r"`((?:torchrun [^`]+ )?clipsearch [^`]+)`", PAGE.read_text("utf-8"))
PATCH, WIDTH = 8, 64

chinese = test_chinese.folder  # a fixture


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the page speaks of."""
    place = tmp_path_factory.mktemp("sources")
    (place / "Photos").mkdir()
    for number, colour in enumerate(COLOURS):
        wall(colour, number).save(place / "Photos" / f"{colour}.png")
        (place / "by-subject" / colour).mkdir(parents=True)
        for seed in range(2):
            wall(colour, 10 * seed).save(place / "by-subject" / colour / f"{seed}.png")
    for name, colour in (("cat", "red"), ("dog", "blue")):
        wall(colour, 7).save(place / f"{name}.jpg", quality=95)
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (0, 0, SIDE // 2, SIDE // 2))
    mask.save(place / "mask.png")
    rows = [
        f"by-subject/{colour}/{seed}.png,a {colour} wall" for colour in COLOURS for seed in (0, 1)
    ]
    (place / "captions.csv").write_text("image,caption\n" + "\n".join(rows))
    (place / "subjects.txt").write_text("a cat\na dog\n")
    (place / "MUGE").mkdir()
    images = sorted((place / "Photos").iterdir())
    packed = (f"{n}\t{base64.b64encode(it.read_bytes()).decode()}\n" for n, it in enumerate(images))
    (place / "MUGE" / "valid_imgs.tsv").write_text("".join(packed))
    texts = [{"text_id": n, "text": "雪地里的狗", "image_ids": [n, 0]} for n in range(3)]
    lines = "".join(f"{json.dumps(it)}\n" for it in texts)
    (place / "MUGE" / "valid_texts.jsonl").write_text(lines)
    return place


@pytest.fixture(scope="module")
def models(place: Path, spec: str, chinese: Path, blip: Path, matcher: Path) -> dict[str, str]:
    """What stands in a command in the place of each model that the page names."""
    captioners.make_llava(place / "llava", PATCH, WIDTH)
    torch.save(alpha_state(), place / "alpha.pt")
    return {
        "--model ViT-B-32/openai": f"--model {spec}",
        "--model ViT-B-32:weights.safetensors": f"--model {spec}",
        "--model chinese": f"--model chinese-clip:{chinese}",
        "--model blip": f"--model {blip}",
        "--rerank blip": f"--rerank {matcher}",
    }


def alpha_state() -> dict[str, Any]:
    """A small CLIP as OpenAI builds one, with the convolution of the mask."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=2, width=WIDTH, patch_size=PATCH, image_size=SIDE)
    clip = CLIP(24, vision, CLIPTextCfg(width=64, heads=1, layers=2), quick_gelu=True)
    kernel = torch.randn((WIDTH, 1, PATCH, PATCH)) * 0.1
    return dict(clip.state_dict()) | {"visual.conv1_alpha.weight": kernel}


@pytest.mark.thorough
def test_every_command_of_the_page_does_what_it_is_there_for(
    place: Path, models: dict[str, str], cache: Path
) -> None:
    environment = os.environ | {
        "HOME": str(place), "CLIPSEARCH_INDEX": str(place / "index"),
        "CLIPSEARCH_CACHE": str(cache),
    }  # fmt: skip
    assert len(COMMANDS) > 20
    for shown in COMMANDS:
        command = shown
        for name, small in models.items():
            command = re.sub(rf"{re.escape(name)}(?![\w-])", small, command)
        command = command.replace("torchrun", "torch.distributed.run")
        arguments = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(
            arguments, cwd=place, env=environment, capture_output=True, text=True, timeout=600
        )
        assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), (shown, done.stderr)
        assert done.stdout.strip(), shown
    assert len(list((place / "found").iterdir())) == 4
    assert {"tuned", "tuned-words", "tuned-by-two", "chinese-onnx"} <= {
        it.name for it in place.iterdir()
    }
