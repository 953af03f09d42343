"""A sentence about a picture, or a part of it: by what it is cut out for, and by what sees it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import captioners
import numpy as np
import playwright.sync_api as playwright
import pytest
import test_page
import torch
from captioners import SIDE, wall
from conftest import Run
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from test_page import free_port, serve, stop
from torch.nn import functional as F

from clipsearch import InvalidInput, ModelError, describe
from clipsearch.encoders.captions import load_matcher
from clipsearch.encoders.captions.llava import ASKED, LONGEST

PATCH, WIDTH = 8, 64
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    captioners.make_llava(folder, PATCH, WIDTH)
    return folder


@pytest.fixture(scope="module")
def clip() -> Any:
    """A small random CLIP as OpenAI builds one, of which the image tower is taken."""
    torch.manual_seed(5)
    vision = CLIPVisionCfg(layers=2, width=WIDTH, patch_size=PATCH, image_size=SIDE)
    text = CLIPTextCfg(width=64, heads=1, layers=1)
    clip = CLIP(24, vision, text, quick_gelu=True).eval().requires_grad_(False)
    for value in clip.visual.parameters():  # so that the answers differ
        value.mul_(4) if value.dim() > 1 else value
    return clip


@pytest.fixture(scope="module")
def kernel() -> torch.Tensor:
    return torch.randn((WIDTH, 1, PATCH, PATCH), generator=torch.Generator().manual_seed(1)) * 0.5


@pytest.fixture(scope="module")
def alpha(clip: Any, kernel: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("alpha") / "alpha.pth"
    torch.save(clip.visual.state_dict() | {"conv1_alpha.weight": kernel}, file)
    return file


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A picture of a red wall with a blue one in the middle of its right half."""
    file = tmp_path / "two.png"
    image = wall("red").resize((400, 300))
    image.paste(wall("blue").resize((120, 120)), (240, 90))
    image.save(file)
    return file


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """White where the blue wall is."""
    file = tmp_path / "mask.png"
    image = Image.new("L", (400, 300))
    ImageDraw.Draw(image).ellipse((240, 90, 359, 209), fill=255)
    image.save(file)
    return file


def test_a_picture_and_its_parts_are_described(two: Path, mask: Path, blip: Path) -> None:
    model = str(blip)
    assert describe(two, region="0,0,150,300", model=model) == "a red wall"
    assert describe(two, region="60%,30%,30%,40%", model=model) == "a blue wall"
    assert describe(two, mask=mask, model=model) == "a blue wall"
    assert describe(str(two), model=model) == "a red wall"
    assert describe(wall("green", 7), model=model) == "a green wall"


def test_a_part_is_cut_out_with_a_little_around_it(two: Path, blip: Path) -> None:
    image = Image.open(two)
    margin = image.crop((228, 78, 372, 222))  # a tenth of 120 more on each side
    for_part = describe(image, region="240,90,120,120", model=str(blip))
    assert for_part == describe(margin, model=str(blip))
    # At the edge there is no more than the picture has.
    assert describe(image, region="0,0,400,300", model=str(blip)) == "a red wall"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"region": "0,0,500,300"}, "beyond the picture"),
        ({"region": "1,2"}, "region"),
        ({"region": "0,0,10,10", "mask": "mask.png"}, "both tell a part"),
        ({"mask": "nowhere.png"}, "nowhere.png"),
    ],
)
def test_a_part_that_makes_no_sense_is_refused(
    two: Path, blip: Path, asked: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        describe(two, model=str(blip), **asked)  # type: ignore[arg-type]


def test_what_is_no_picture_is_told(tmp_path: Path, blip: Path) -> None:
    (tmp_path / "no.jpg").write_bytes(b"no picture")
    for name in ("no.jpg", "nowhere.jpg"):
        with pytest.raises(InvalidInput, match=name):
            describe(tmp_path / name, model=str(blip))


# LLaVA, and Alpha-CLIP in it


def by_hand(
    folder: Path, pixels: torch.Tensor, tower: Any = None, alpha: torch.Tensor | None = None
) -> str:
    """What LLaVA answers, from its parts: the tower's features, the projector, and the decoder."""
    from transformers import AutoTokenizer, LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(folder).eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tower is None:
        seen = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2]
    else:
        x = tower.conv1(pixels)
        if alpha is not None:
            x = x + alpha
        x = x.flatten(2).transpose(1, 2)
        first = tower.class_embedding.expand(len(x), 1, -1)
        x = tower.ln_pre(torch.cat([first, x], 1) + tower.positional_embedding)
        seen = tower.transformer.resblocks[0](x)
    features = model.model.multi_modal_projector(seen[:, 1:])
    places = (SIDE // PATCH) ** 2
    text = f"USER: {'<image>' * places}\n{ASKED} ASSISTANT:"
    tokens = tokenizer(text, return_tensors="pt")["input_ids"]
    rows = model.get_input_embeddings()(tokens).clone()
    rows[tokens == 1] = features.reshape(-1, features.shape[-1])
    out = model.language_model if hasattr(model, "language_model") else model.model.language_model
    said: list[int] = []
    for _ in range(LONGEST):
        state = out(inputs_embeds=rows).last_hidden_state[:, -1]
        following = int(model.lm_head(state).argmax())
        said.append(following)
        if following == 7:
            break
        rows = torch.cat([rows, model.get_input_embeddings()(torch.tensor([[following]]))], 1)
    return " ".join(tokenizer.decode(said, skip_special_tokens=True).split())


def normalized(image: Image.Image) -> torch.Tensor:
    pixels = torch.tensor(np.asarray(image)).permute(2, 0, 1)[None].float() / 255
    return (pixels - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def test_llava_answers_as_its_parts_do(llava: Path) -> None:
    answers = set()
    for seed, colour in enumerate(("red", "green", "blue")):
        image = wall(colour, seed)
        said = describe(image, model=f"llava:{llava}")
        assert said == by_hand(llava, normalized(image))
        answers.add(said)
    assert len(answers) > 1  # they depend on the picture


def damaged(folder: Path, place: Path) -> Path:
    """A copy of a model all of whose weights are NaN."""
    shutil.copytree(folder, place)
    weights = load_file(place / "model.safetensors")
    lost = {
        name: torch.full_like(it, torch.nan) if it.is_floating_point() else it
        for name, it in weights.items()
    }
    save_file(lost, place / "model.safetensors", {"format": "pt"})
    return place


def test_weights_that_are_no_numbers_are_told_and_not_the_picture(
    llava: Path, blip: Path, matcher: Path, tmp_path: Path
) -> None:
    for name, folder in (("llava:", llava), ("", blip)):
        place = damaged(folder, tmp_path / folder.name)
        with pytest.raises(ModelError, match=rf"{place} gives NaN for every picture: its weights"):
            describe(wall("red"), model=f"{name}{place}")
    place = damaged(matcher, tmp_path / "fits")
    with pytest.raises(ModelError, match=rf"{place} gives NaN"):
        load_matcher(str(place), "cpu").match(np.array(wall("red"))[None], "a red wall")


def test_alpha_clip_in_llava_sees_the_whole_picture_and_the_part(
    llava: Path, alpha: Path, clip: Any, kernel: torch.Tensor
) -> None:
    image = wall("red", 1)
    image.paste(wall("blue", 2).resize((16, 16)), (8, 16))
    pixels = normalized(image)
    answers = set()
    for box in ((8, 16, 24, 32), (0, 0, 8, 8), (0, 0, SIDE, SIDE)):
        mask = torch.full((1, 1, SIDE, SIDE), -0.5 / 0.26)
        mask[:, :, box[1] : box[3], box[0] : box[2]] = 0.5 / 0.26
        region = f"{box[0]},{box[1]},{box[2] - box[0]},{box[3] - box[1]}"
        said = describe(image, region=region, model=f"llava:{llava}", alpha=alpha)
        added = F.conv2d(mask, kernel, stride=PATCH)
        assert said == by_hand(llava, pixels, clip.visual, added)
        answers.add(said)
    assert len(answers) > 1  # they depend on the part
    everything = describe(image, model=f"llava:{llava}", alpha=alpha)
    assert everything == said  # without a part all is meant


def test_of_a_checkpoint_with_both_towers_the_image_tower_is_taken(
    llava: Path, alpha: Path, clip: Any, kernel: torch.Tensor, tmp_path: Path
) -> None:
    torch.save(clip.state_dict() | {"visual.conv1_alpha.weight": kernel}, tmp_path / "both.pth")
    asked = {"region": "8,16,16,16", "model": f"llava:{llava}"}
    image = wall("green", 3)
    said = describe(image, alpha=tmp_path / "both.pth", **asked)  # type: ignore[arg-type]
    assert said == describe(image, alpha=alpha, **asked)  # type: ignore[arg-type]


def test_a_picture_that_is_no_square_is_seen_whole(
    llava: Path, alpha: Path, clip: Any, kernel: torch.Tensor
) -> None:
    image = Image.new("RGB", (SIDE, SIDE // 2), (200, 30, 40))
    square = Image.new("RGB", (SIDE, SIDE), tuple(int(255 * it) for it in MEAN))  # type: ignore[arg-type]
    square.paste(image, (0, SIDE // 4))
    mask = torch.full((1, 1, SIDE, SIDE), -0.5 / 0.26)
    mask[:, :, SIDE // 4 : SIDE // 2, : SIDE // 2] = 0.5 / 0.26
    said = describe(image, region="0%,0%,50%,50%", model=f"llava:{llava}", alpha=alpha)
    added = F.conv2d(mask, kernel, stride=PATCH)
    assert said == by_hand(llava, normalized(square), clip.visual, added)


def test_what_does_not_go_together_is_told(
    two: Path, llava: Path, blip: Path, alpha: Path, tmp_path: Path
) -> None:
    for model, file, said in (
        (str(blip), alpha, "goes with LLaVA"),
        (f"llava:{llava}", tmp_path / "none.pth", "is no file"),
        (f"llava:{llava}", two, "cannot be read"),
        (f"llava:{blip}", None, "type blip and no LLaVA"),
        ("llava:nowhere/at/all", None, r"names no such model\. Write a repository"),
    ):
        with pytest.raises(ModelError, match=said):
            describe(two, model=model, alpha=file)
    small = tmp_path / "small"
    captioners.make_llava(small, PATCH, 128)
    with pytest.raises(ModelError, match="not of the size of this LLaVA's"):
        describe(two, model=f"llava:{small}", alpha=alpha)


# The command


def test_the_command_says_a_sentence(two: Path, mask: Path, blip: Path, clipsearch: Run) -> None:
    told = json.loads(clipsearch("describe", two, "--model", blip, "--mask", mask, "--json").stdout)
    assert told == {
        "image": str(two), "region": None, "mask": str(mask), "model": str(blip),
        "text": "a blue wall",
    }  # fmt: skip
    content = io.BytesIO()
    wall("green").save(content, "PNG")
    piped = clipsearch("describe", "-", "--model", blip, input=content.getvalue())
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, "a green wall\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["two.png", "--region", "0,0,9999,1"], "reaches beyond the picture"),
        (["nowhere.png"], "nowhere.png"),
        (["two.png", "--alpha", "x.pth"], "--alpha"),
        (["two.png", "--model", "bilp"], "did you mean 'blip'?"),
        (["dog"], "there is no picture 'dog'"),
    ],
)
def test_a_mistake_is_one_line(
    two: Path, blip: Path, clipsearch: Run, arguments: list[str], said: str
) -> None:
    arguments = [str(two) if it == "two.png" else it for it in arguments]
    model = [] if "--model" in arguments else ["--model", str(blip)]
    done = clipsearch("describe", *arguments, *model)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


# The server and its page


browser = test_page.browser  # a fixture


@pytest.fixture
def served(two: Path, blip: Path, index: Path, clipsearch: Run) -> Iterator[str]:
    """The address of a server that describes, over an index of one photo."""
    clipsearch("index", two.parent, "--model", "pocket")
    port = free_port()
    server = serve(port, os.environ | {"CLIPSEARCH_INDEX": str(index)}, "--describe", str(blip))
    yield f"http://127.0.0.1:{port}"
    stop(server)


def answer_of(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(address) as response:
        return dict(json.loads(response.read()))


def test_a_server_describes_parts_of_photos_and_its_page_offers_it(
    served: str, blip: Path, browser: Any
) -> None:
    assert answer_of(f"{served}/api/status")["describes"] == str(blip)
    (photo,) = answer_of(f"{served}/api/search")["hits"]
    where = f"{served}/api/photos/{photo['id']}/description"
    assert answer_of(where) == {"model": str(blip), "text": "a red wall"}
    part = "?region=60%25,30%25,30%25,40%25"
    assert answer_of(where + part)["text"] == "a blue wall"
    for wrong, status in (("?region=1,2", 400), ("?region=0,0,9999,1", 400), ("?part=1", 422)):
        with pytest.raises(urllib.error.HTTPError) as error:
            answer_of(where + wrong)
        assert error.value.code == status
    page = browser.new_page()
    page.goto(served)
    page.locator(".tile a").first.click()
    page.locator("#large").wait_for()
    page.keyboard.press("r")
    page.get_by_role("button", name="Describe it").click()
    said = page.locator("#region-said")
    playwright.expect(said).to_have_text(re.compile("a (red|blue) wall"))
    page.locator("#stage").focus()
    page.keyboard.press("ArrowLeft")  # another part, of which nothing was said
    playwright.expect(said).to_be_hidden()
    page.close()


def test_a_server_that_was_told_no_model_says_so(two: Path, index: Path, clipsearch: Run) -> None:
    clipsearch("index", two.parent, "--model", "pocket")
    port = free_port()
    server = serve(port, os.environ | {"CLIPSEARCH_INDEX": str(index)})
    try:
        assert answer_of(f"http://127.0.0.1:{port}/api/status")["describes"] is None
        with pytest.raises(urllib.error.HTTPError) as error:
            answer_of(f"http://127.0.0.1:{port}/api/photos/1/description")
        assert error.value.code == 404
        assert b"--describe" in error.value.read()
    finally:
        stop(server)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--alpha", "x.pth"], "--describe llava:FOLDER"),
        (["--describe", "bilp"], "did you mean 'blip'?"),
    ],
)
def test_serve_says_what_cannot_describe(
    two: Path, index: Path, clipsearch: Run, options: list[str], said: str
) -> None:
    clipsearch("index", two.parent, "--model", "pocket")
    done = clipsearch("serve", "--port", "0", *options)
    assert done.returncode == 2
    assert said in done.stderr
