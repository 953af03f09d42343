"""Captions that models write, what they are found by, and answers that a model orders anew."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import captioners
import numpy as np
import pytest
from captioners import COLOURS, wall
from conftest import Run, picture
from PIL import Image
from tiny import open_tiny

from clipsearch import InvalidInput, Library, ModelError, WeightsUnavailable
from clipsearch.encoders.captions import captioner_name, load_captioner, load_matcher
from clipsearch.search.filtering.filters import Filters
from clipsearch.store.database import FILE_NAME


@pytest.fixture
def walls(tmp_path: Path) -> Path:
    """Seven walls of three colours, and a copy of one; their names do not tell."""
    folder = tmp_path / "walls"
    (folder / "old").mkdir(parents=True)
    for seed in range(7):
        place = folder / "old" if seed >= 5 else folder
        wall(list(COLOURS)[seed % 3], seed).save(place / f"{seed}.png")
    wall("red", 0).save(folder / "copy.png")
    return folder


def stored(index: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(index / FILE_NAME) as db:
        return db.execute("SELECT model, text FROM captions ORDER BY rowid").fetchall()


def names(library: Library, text: str, **options: object) -> list[str]:
    return sorted(hit.path.name for hit in library.query(text, None, hybrid=True, **options))  # type: ignore[arg-type]


# Writing


def test_captions_are_written_once_and_found_by_their_words(
    walls: Path, index: Path, blip: Path
) -> None:
    with open_tiny(index) as library:
        library.index([walls])
        seen: list[tuple[int, int]] = []
        report = library.write_captions(
            model=str(blip), batch_size=3, progress=lambda *it: seen.append(it)
        )
        assert (report.written, report.failed, report.left) == (7, 0, 0)
        assert seen == [(0, 7), (3, 7), (6, 7), (7, 7)]
        assert sorted(stored(index)) == sorted(
            (str(blip), f"a {colour} wall") for colour in [*COLOURS, *COLOURS, "red"]
        )
        assert names(library, '"red"') == ["0.png", "3.png", "6.png", "copy.png"]
        assert library.captions(walls / "copy.png") == {str(blip): "a red wall"}
        again = library.write_captions(model=str(blip))
        assert (again.written, again.left, len(stored(index))) == (0, 0, 7)


def test_a_stopped_run_keeps_what_is_done_and_goes_on_from_there(
    walls: Path, index: Path, blip: Path
) -> None:
    with open_tiny(index) as library:
        library.index([walls])
        asked = iter([False, False, False, True])
        report = library.write_captions(model=str(blip), batch_size=3, stopping=lambda: next(asked))
        assert (report.written, report.left) == (4, 3) == (len(stored(index)), 3)
        report = library.write_captions(model=str(blip))
        assert (report.written, report.left, len(stored(index))) == (3, 0, 7)


def test_a_killed_run_keeps_what_is_done(tmp_path: Path, index: Path, blip: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for seed in range(120):
        wall(list(COLOURS)[seed % 3], seed).save(folder / f"{seed}.png")
    with open_tiny(index) as library:
        library.index([folder])
        command = ["-m", "clipsearch", "caption", "--model", blip, "--batch-size", "1"]
        with subprocess.Popen([sys.executable, *command, "--index", index]) as process:
            deadline = time.monotonic() + 300
            while not stored(index) and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.kill()
        done = len(stored(index))
        assert 0 < done < 120
        assert library.write_captions(model=str(blip)).written == 120 - done
        assert len(names(library, '"wall"')) == 120


def test_captions_of_one_folder_and_of_new_photos(walls: Path, index: Path, blip: Path) -> None:
    with open_tiny(index) as library:
        library.index([walls])
        assert library.write_captions([walls / "old"], model=str(blip)).written == 2
        assert names(library, '"wall"') == ["5.png", "6.png"]
        wall("green", 99).save(walls / "old" / "new.png")
        library.index()
        assert library.write_captions([walls / "old"], model=str(blip)).written == 1
        with pytest.raises(InvalidInput, match="no photos below"):
            library.write_captions([walls / "other"], model=str(blip))
        assert library.status().captions == {str(blip): 3}


def test_a_caption_follows_its_photo_and_goes_with_the_last_copy(
    walls: Path, index: Path, blip: Path
) -> None:
    with open_tiny(index) as library:
        library.index([walls])
        library.write_captions(model=str(blip))
        (walls / "4.png").rename(walls / "moved.png")
        (walls / "0.png").unlink()
        (walls / "1.png").unlink()
        library.index()
        assert names(library, '"green"') == ["moved.png"]
        assert "copy.png" in names(library, '"red"')
        assert sum(library.status().captions.values()) == 6
        library.index(keep_for=0)
        assert len(stored(index)) == 6


def test_what_cannot_be_read_is_counted_and_tried_again(
    walls: Path, index: Path, blip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_tiny(index) as library:
        library.index([walls])
        (walls / "1.png").rename(walls / "elsewhere")
        wall("blue", 50).save(walls / "2.png")  # changed, and not indexed again yet
        report = library.write_captions(model=str(blip), batch_size=2)
        assert (report.written, report.failed) == (5, 2)
        assert "not captioned: 2 photos" in caplog.text
        assert re.search(r"the first is .*[12]\.png: ", caplog.text)
        (walls / "elsewhere").rename(walls / "1.png")
        assert library.write_captions(model=str(blip)).written == 1


# Models


def views(prepare: object, count: int = 4) -> tuple[list[Image.Image], np.ndarray]:
    images = [picture(seed, (captioners.SIDE,) * 2) for seed in range(count)]
    return images, np.stack([prepare(image) for image in images])  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["blip", "vit-gpt2"])
def test_captions_are_those_of_transformers_itself(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    import transformers

    if kind == "blip":
        folder = request.getfixturevalue("blip")
    else:
        captioners.make_vit_gpt2(folder := tmp_path)
    ours = load_captioner(captioner_name(str(folder)), "cpu")
    images, batch = views(ours.prepare)
    captions = ours.write(batch)
    names = {"blip": "BlipForConditionalGeneration", "vit-gpt2": "VisionEncoderDecoderModel"}
    model = getattr(transformers, names[kind]).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    expected = []
    for image in images:  # one by one, where we write a batch
        pixels = processor(image, return_tensors="pt")["pixel_values"]
        tokens = model.generate(pixel_values=pixels, num_beams=3, max_new_tokens=30)
        expected.append(" ".join(tokenizer.decode(tokens[0], skip_special_tokens=True).split()))
    assert captions == expected
    assert any(captions)


@pytest.fixture(scope="module")
def coca(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a small untrained CoCa."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("coca")
    text = {"context_length": 76, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    config = {
        "embed_dim": 32,
        "vision_cfg": {
            "image_size": captioners.SIDE, "layers": 2, "width": 64, "patch_size": 8,
            "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True,
        },
        "text_cfg": text | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": text | {"attn_pooler_heads": 2},
        "custom_text": True,
    }  # fmt: skip
    (folder / "coca_tiny.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    torch.manual_seed(3)
    model = open_clip.create_model("coca_tiny")
    for weight in model.parameters():
        if weight.dim() > 1:  # so that what is seen matters; some are not even initialized
            torch.nn.init.normal_(weight, std=0.3)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "coca.safetensors")
    return f"coca_tiny:{folder / 'coca.safetensors'}"


def test_coca_writes_the_same_alone_as_in_a_batch(coca: str) -> None:
    captioner = load_captioner(captioner_name(coca), "cpu")
    _, batch = views(captioner.prepare)
    captions = captioner.write(batch)
    assert captions == [captioner.write(view[None])[0] for view in batch]
    assert len(set(captions)) > 1
    assert not any("<" in caption for caption in captions)


def test_a_coca_that_gives_no_numbers_is_told(coca: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    name, _, file = coca.partition(":")
    lost = {key: torch.full_like(it, torch.nan) for key, it in load_file(file).items()}
    save_file(lost, damaged := tmp_path / "coca.safetensors")
    captioner = load_captioner(f"{name}:{damaged}", "cpu")
    with pytest.raises(ModelError, match="gives NaN for every picture"):
        captioner.write(np.zeros((2, captioner.prepare.size, captioner.prepare.size, 3), np.uint8))


def test_coca_writes_what_open_clip_generates(coca: str) -> None:
    import open_clip
    import torch
    from open_clip import coca_model

    if not coca_model._has_transformers:
        pytest.skip("open_clip's generate needs transformers before 5")
    from clipsearch.encoders.captions.coca import CocaCaptioner
    from clipsearch.encoders.spec import parse_spec

    ours = CocaCaptioner(parse_spec(coca), "cpu")
    images, batch = views(ours.prepare, 8)
    model, _, transform = open_clip.create_model_and_transforms("coca_tiny", coca.split(":", 1)[1])
    pixels = torch.stack([transform(image) for image in images])
    expected = model.eval().generate(pixels, generation_type="top_k", top_k=1)
    assert ours.tokens(batch).tolist() == expected.tolist()


def test_what_names_no_captioning_model_is_told(tmp_path: Path, matcher: Path) -> None:
    with pytest.raises(ModelError, match="names no such model"):
        captioner_name("no-such")
    with pytest.raises(ModelError, match="cannot be read"):
        load_captioner(captioner_name(str(tmp_path)), "cpu")
    with pytest.raises(
        WeightsUnavailable, match=r"(?s)HF_HUB_OFFLINE.*folder that holds its files"
    ):
        load_captioner(captioner_name("blip"), "cpu")
    with pytest.raises(WeightsUnavailable, match=r"(?s)HF_HUB_OFFLINE.*coca_ViT-B-32:FILE") as coca:
        load_captioner(captioner_name("coca"), "cpu")
    assert "pocket" not in str(coca.value)
    with pytest.raises(ModelError, match="missing"):
        load_captioner(str(matcher), "cpu")


# Ordering anew


def test_the_first_answers_are_ordered_by_how_well_they_fit(
    walls: Path, index: Path, matcher: Path
) -> None:
    with open_tiny(index) as library:
        library.index([walls])
        plain = library.query("a blue wall", None)
        found = library.query("a blue wall", None, rerank=str(matcher))
        assert [hit.path.name for hit in found][:2] != [hit.path.name for hit in plain][:2]
        assert {hit.path.name for hit in found[:2]} == {"2.png", "5.png"}
        assert sorted(found, key=lambda hit: hit.id) == sorted(plain, key=lambda hit: hit.id)
        # Fewer are asked for than are looked at.
        assert library.query("a blue wall", 2, rerank=str(matcher)) == found[:2]
        old = Filters(folder=[walls / "old"])
        (best,) = library.query("a blue wall", 1, rerank=str(matcher), filters=old)
        assert best.path.name == "5.png"
        best.path.unlink()
        last = library.query("a blue wall", None, rerank=str(matcher))[-1]
        assert last.path.name == "5.png", "what cannot be read comes last"
        with pytest.raises(InvalidInput, match="reads words"):
            library.query(images=[walls / "0.png"], rerank=str(matcher))


def test_matching_is_that_of_transformers_itself(matcher: Path) -> None:
    import torch
    from transformers import AutoImageProcessor, AutoTokenizer, BlipForImageTextRetrieval

    ours = load_matcher(str(matcher), "cpu")
    images, batch = views(ours.prepare)
    model = BlipForImageTextRetrieval.from_pretrained(matcher).eval()
    pixels = AutoImageProcessor.from_pretrained(matcher)(images, return_tensors="pt")
    tokens = AutoTokenizer.from_pretrained(matcher)("a red wall", return_tensors="pt")
    ids = tokens["input_ids"].repeat(len(images), 1)
    with torch.no_grad():
        scores = model(input_ids=ids, pixel_values=pixels["pixel_values"]).itm_score
    expected = scores.softmax(dim=1)[:, 1].numpy()
    assert ours.match(batch, "a red wall") == pytest.approx(expected, abs=1e-5)


# The command line


def test_the_command(clipsearch: Run, walls: Path, index: Path, blip: Path, matcher: Path) -> None:
    without = clipsearch("caption", "--show", walls / "0.png")
    with Library.open(index, model="pocket") as library:
        library.index([walls])
    asked = clipsearch("caption", "--show", walls / "0.png")
    assert (asked.returncode, asked.stdout) == (1, "")
    assert (without.returncode, without.stdout, without.stderr) == (1, "", asked.stderr)
    gone = clipsearch("caption", "--show", walls / "none.png")
    assert (gone.returncode, "none.png" in gone.stderr) == (2, True)
    done = clipsearch("caption", "--model", blip, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["written"] == 7
    again = clipsearch("caption", "--model", blip)
    assert again.stdout == "0 captions written; 0.0 s\n"
    assert again.stderr == f"clipsearch: no photo is without a caption by {blip}\n"
    assert clipsearch("caption", "--show", walls / "0.png").stdout == f"{blip}\ta red wall\n"
    assert f"captions  7 by {blip}\n" in clipsearch("status").stdout
    found = clipsearch("query", '"blue" wall', "--hybrid", "--rerank", matcher, "--paths")
    assert {Path(path).name for path in found.stdout.split()} == {"2.png", "5.png"}
    assert found.stderr == ""
    wrong = clipsearch("caption", "--model", "no-such")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("clipsearch: 'no-such' names no such model")


# The published weights


@pytest.mark.hub
@pytest.mark.parametrize("model", ["blip", "vit-gpt2", "coca"])
def test_the_published_models_see_a_cat(model: str, index: Path) -> None:
    # transformers' documentation shows "two cats sleeping on a couch" of BLIP for COCO's 39769.
    photos = Path(find_spec("skimage").origin).with_name("data")  # type: ignore[union-attr, arg-type]
    captioner = load_captioner(captioner_name(model), "cpu")
    view = captioner.prepare(Image.open(photos / "chelsea.png").convert("RGB"))
    assert "cat" in captioner.write(view[None])[0]


@pytest.mark.hub
def test_the_published_matcher_tells_a_cat_from_coffee() -> None:
    photos = Path(find_spec("skimage").origin).with_name("data")  # type: ignore[union-attr, arg-type]
    matcher = load_matcher("blip", "cpu")
    images = [Image.open(photos / name).convert("RGB") for name in ("chelsea.png", "coffee.png")]
    fits = matcher.match(np.stack([matcher.prepare(image) for image in images]), "a photo of a cat")
    assert fits[0] > 0.5 > fits[1]
