"""A model is named in one of four ways, and its activation is never guessed wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from conftest import SMALL, picture
from huggingface_hub import constants as hub_constants
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file

from clipsearch.encoders import load, parse_spec
from clipsearch.encoders.aliases import ALIASES
from clipsearch.encoders.openclip.encoder import OpenClipEncoder
from clipsearch.encoders.openclip.recipe import Recipe, resolve
from clipsearch.encoders.spec import Spec
from clipsearch.errors import ModelError, WeightsUnavailable

OPENAI_LEFTOVERS = ("input_resolution", "context_length", "vocab_size")

MakeFile = Callable[..., Path]


@pytest.fixture
def weights_file(tmp_path: Path) -> MakeFile:
    """Makes a weights file that holds nothing but its keys."""

    def make(*keys: str, name: str = "w.safetensors") -> Path:
        path = tmp_path / name
        tensors = {key: torch.zeros(1) for key in keys or ("logit_scale",)}
        if name.endswith(".safetensors"):
            save_file(tensors, path)
        else:
            torch.save(tensors, path)
        return path

    return make


def quick_gelu(name: str, file: Path) -> bool:
    return resolve(parse_spec(f"{name}:{file}")).quick_gelu


# Naming a model


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_short_for_its_spec(alias: str) -> None:
    assert parse_spec(alias) == parse_spec(ALIASES[alias].spec)


def test_pocket_is_a_family_of_its_own() -> None:
    assert parse_spec("pocket") == Spec("pocket", "pocket")


def test_a_name_and_a_tag_name_a_model_of_open_clip() -> None:
    assert parse_spec("ViT-B-32/openai") == Spec("open_clip", "ViT-B-32", tag="openai")


@pytest.mark.parametrize("text", ["hf-hub:timm/ViT-B-16-SigLIP2-256", "hf-hub:timm/x/"])
def test_a_repository_of_the_hub_names_a_model(text: str) -> None:
    assert parse_spec(text) == Spec("open_clip", "", hub=text.removeprefix("hf-hub:").strip("/"))


def test_a_file_of_weights_names_a_model(weights_file: MakeFile) -> None:
    file = weights_file()
    assert parse_spec(f"ViT-B-32:{file}") == Spec("open_clip", "ViT-B-32", file=str(file))


def test_a_relative_file_becomes_absolute(
    weights_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = weights_file()
    monkeypatch.chdir(file.parent)
    assert parse_spec("ViT-B-32:w.safetensors").file == str(file)
    assert parse_spec(f"ViT-B-32:../{file.parent.name}/w.safetensors").file == str(file)


def test_a_file_may_be_named_from_the_home_folder(
    weights_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = weights_file()
    monkeypatch.setenv("HOME", str(file.parent))
    assert parse_spec("ViT-B-32:~/w.safetensors").file == str(file)


def test_the_name_of_a_file_may_hold_colons_and_spaces(weights_file: MakeFile) -> None:
    file = weights_file(name="my: own weights.pt")
    assert parse_spec(f"ViT-B-32:{file}").file == str(file)


@pytest.mark.parametrize(
    "text",
    ["pocket", "ViT-B-32/openai", "hf-hub:timm/ViT-B-16-SigLIP2-256", "default", "  pocket\n"],
)
def test_a_spec_in_words_is_understood_again(text: str) -> None:
    assert parse_spec(str(parse_spec(text))) == parse_spec(text)


def test_a_spec_of_a_file_in_words_is_understood_again(weights_file: MakeFile) -> None:
    spec = parse_spec(f"ViT-B-32:{weights_file()}")
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize("text", ["", " ", "clip", "ViT-B-32", "/openai", "ViT-B-32/", "/", "best "
                                  "of all"])  # fmt: skip
def test_what_names_no_model_is_answered_with_how_to_name_one(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_spec(text)
    for way in ("default", "pocket", "NAME/PRETRAINED", "hf-hub:ORG/NAME", "NAME:FILE"):
        assert way in str(caught.value)


@pytest.mark.parametrize("text", ["hf-hub:", "hf-hub:CLIP", "hf-hub:a/b/c", "hf-hub:/CLIP"])
def test_a_repository_without_an_organisation_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="write hf-hub:ORG/NAME"):
        parse_spec(text)


@pytest.mark.parametrize("file", ["gone.pt", "", "C:\\x", "C:\\weights\\w.pt", "/", "."])
def test_a_file_that_is_not_there_is_named(file: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_spec(f"ViT-B-32:{file}")
    assert str(caught.value) == f"there is no weights file {file!r}"


def test_an_unknown_architecture_is_answered_with_near_ones(weights_file: MakeFile) -> None:
    with pytest.raises(ModelError, match=r"'ViT-B32'.*did you mean .*ViT-B-32"):
        resolve(parse_spec(f"ViT-B32:{weights_file()}"))


def test_an_unknown_tag_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"'openia' for ViT-L-14-336. It has: openai"):
        resolve(parse_spec("ViT-L-14-336/openia"))


# QuickGELU


def test_every_pretrained_tag_has_the_activation_of_its_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_clip, "download_pretrained", lambda entry: "no-network")
    got, expected = {}, {}
    for name, tag in open_clip.list_pretrained():
        tagged = open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)
        built = open_clip.get_model_config(name).get("quick_gelu", False)
        expected[name, tag] = bool(tagged or built)
        got[name, tag] = resolve(Spec("open_clip", name, tag=tag)).quick_gelu
    assert len(expected) > 150
    assert got == expected
    assert got["ViT-B-32", "openai"]
    assert got["ViT-L-14-336", "openai"]
    assert not got["ViT-B-32", "laion2b_s34b_b79k"]


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_a_file_with_the_keys_of_openai_has_quick_gelu_untold(
    name: str, weights_file: MakeFile
) -> None:
    assert quick_gelu("ViT-B-32", weights_file(*OPENAI_LEFTOVERS, name=name))


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "ViT-H-14"])
def test_a_file_that_does_not_tell_its_activation_is_refused_with_both_spellings(
    name: str, weights_file: MakeFile
) -> None:
    with pytest.raises(ModelError) as caught:
        quick_gelu(name, weights_file())
    assert f"{name}-quickgelu:FILE" in str(caught.value)
    assert f"{name}-gelu:FILE" in str(caught.value)


def test_no_architecture_that_exists_both_ways_is_guessed(weights_file: MakeFile) -> None:
    file, models = weights_file(), set(open_clip.list_models())
    guessed = []
    for name in sorted(name for name in models if f"{name}-quickgelu" in models):
        try:
            guessed.append((name, quick_gelu(name, file)))
        except ModelError:
            continue
    assert guessed == []


@pytest.mark.parametrize("keys", [(), OPENAI_LEFTOVERS])
@pytest.mark.parametrize(("suffix", "expected"), [("-quickgelu", True), ("-gelu", False)])
def test_a_person_may_tell_the_activation(
    suffix: str, expected: bool, keys: tuple[str, ...], weights_file: MakeFile
) -> None:
    assert quick_gelu(f"ViT-B-32{suffix}", weights_file(*keys)) is expected


@pytest.mark.parametrize("name", [SMALL, "ViT-B-32-256", "ViT-B-16-SigLIP2-256", "coca_ViT-B-32"])
def test_an_architecture_that_exists_one_way_needs_no_telling(
    name: str, weights_file: MakeFile
) -> None:
    assert not quick_gelu(name, weights_file())


def test_every_architecture_can_be_named_with_a_file(weights_file: MakeFile) -> None:
    file = weights_file()
    for name in open_clip.list_models():
        recipe = resolve(Spec("open_clip", f"{name}-gelu", file=str(file)))
        assert (recipe.architecture, recipe.checkpoint) == (name, file)


@pytest.mark.parametrize("told", [True, False])
def test_a_configuration_beside_the_file_tells_the_activation(
    told: bool, weights_file: MakeFile
) -> None:
    file = weights_file()
    config = {"model_cfg": {"quick_gelu": told}, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}}
    (file.parent / "open_clip_config.json").write_text(json.dumps(config))
    recipe = resolve(parse_spec(f"ViT-B-32:{file}"))
    assert (recipe.quick_gelu, recipe.preprocess) == (told, config["preprocess_cfg"])


def test_a_configuration_that_does_not_speak_of_it_means_plain_gelu(
    weights_file: MakeFile,
) -> None:
    file = weights_file()
    (file.parent / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 512}}')
    assert not quick_gelu("ViT-B-32", file)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_cfg": null}', '"x"'])
def test_a_damaged_configuration_beside_the_file_is_named(
    text: str, weights_file: MakeFile
) -> None:
    file = weights_file()
    beside = file.parent / "open_clip_config.json"
    beside.write_text(text)
    with pytest.raises(ModelError, match=r"open_clip_config\.json"):
        quick_gelu("ViT-B-32", file)


def built(weights: Path, quick_gelu: bool) -> OpenClipEncoder:
    return OpenClipEncoder(Recipe(SMALL, weights, quick_gelu, None), "hash", "cpu", "fp32")


def test_quick_gelu_is_really_built_and_changes_every_embedding(weights: Path) -> None:
    quick, plain = built(weights, True), built(weights, False)
    assert sum(isinstance(part, QuickGELU) for part in quick._model.modules()) > 20
    assert not any(isinstance(part, QuickGELU) for part in plain._model.modules())
    assert not any(isinstance(part, torch.nn.GELU) for part in quick._model.modules())
    views = np.stack([plain.prepare(picture(1))])
    for one, other in (
        (quick.encode_images(views), plain.encode_images(views)),
        (quick.encode_texts(["a dog"]), plain.encode_texts(["a dog"])),
    ):
        assert np.abs(one - other).max() > 5e-4  # a hundred times what arithmetic alone gives
    assert quick.preprocess != plain.preprocess  # so that an index never mixes the two


def test_a_file_is_seen_as_most_weights_of_its_architecture_are(
    weights: Path, weights_file: MakeFile
) -> None:
    recipe = resolve(parse_spec(f"ViT-B-32-gelu:{weights_file()}"))
    encoder = OpenClipEncoder(
        replace(recipe, architecture=SMALL, checkpoint=weights), "hash", "cpu", "fp32"
    )
    shown = json.loads(encoder.preprocess)
    assert shown["mean"] == list(open_clip.OPENAI_DATASET_MEAN)
    assert shown["std"] == list(open_clip.OPENAI_DATASET_STD)
    assert (shown["interpolation"], shown["resize_mode"]) == ("bicubic", "shortest")


# Weights that do not fit


def assert_refused(name: str, file: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(parse_spec(f"{name}:{file}"), device="cpu", precision="fp32")
    first = str(caught.value).splitlines()[0]
    assert str(file) in first
    assert name in first
    return str(caught.value)


def test_weights_of_another_architecture_are_refused(weights_file: MakeFile) -> None:
    assert_refused(SMALL, weights_file("visual.proj", "text_projection"))


def test_weights_of_another_size_are_refused(weights: Path) -> None:
    assert_refused("ViT-M-32-alt", weights)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.bin", "w.npz"])
@pytest.mark.parametrize("content", [b"", b"these are no weights\n", bytes(1000)])
def test_a_file_that_holds_no_weights_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert_refused(SMALL, tmp_path / name)


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.file), "w")


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    file, sprung = tmp_path / "w.pt", tmp_path / "sprung"
    torch.save({"logit_scale": torch.zeros(1), "trap": Trap(sprung)}, file)
    assert "can run code" in assert_refused(SMALL, file)
    with pytest.raises(ModelError):
        quick_gelu("ViT-B-32", file)
    assert not sprung.exists()


# Weights that are not here


@pytest.mark.parametrize(
    "text",
    ["ViT-B-32/openai", "hf-hub:timm/ViT-B-16-SigLIP2-256"]
    + [alias.name for alias in ALIASES.values() if alias.hub],
)
def test_without_a_network_the_three_ways_on_are_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsUnavailable) as caught:
        load(parse_spec(text), device="cpu", precision="fp32")
    message = str(caught.value)
    assert str(parse_spec(text)) in message.splitlines()[0]
    for way in ("clipsearch models download", "model NAME:FILE", "model pocket"):
        assert way in message
    assert str(tmp_path) in message
