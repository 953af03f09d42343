"""Small captioning models of the true architectures, made on the spot, that know three colours."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}
SIDE = 32
PATIENCE = 10  # steps in a row that all is right by far, before a model has learned enough
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "wall"]


def wall(colour: str, seed: int = 0) -> Image.Image:
    """A rough wall of a colour, SIDE pixels a side; each seed gives another one."""
    noise = np.random.default_rng(seed).integers(-25, 26, (SIDE, SIDE, 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def make_blip(folder: Path) -> None:
    """A BLIP that says of each wall "a red wall", or green, or blue."""
    from transformers import BlipForConditionalGeneration

    torch.manual_seed(0)
    model, tokens, processor = BlipForConditionalGeneration(_blip_config()), _bert(), _processor()
    colours = list(COLOURS)
    texts = tokens([f"a {colour} wall" for colour in colours], return_tensors="pt")["input_ids"]
    texts[:, 0] = model.config.text_config.bos_token_id
    sure = 0
    for pixels in _walls(colours, processor, model):
        loss = model(pixel_values=pixels, input_ids=texts, labels=texts).loss
        loss.backward()
        sure = sure + 1 if loss < 0.01 else 0
        if sure == PATIENCE:
            break
    _save(folder, model, tokens, processor)


def make_matcher(folder: Path) -> None:
    """A BLIP that says whether "a red wall" fits a wall."""
    from transformers import BlipForImageTextRetrieval

    torch.manual_seed(0)
    model, tokens, processor = BlipForImageTextRetrieval(_blip_config()), _bert(), _processor()
    colours = list(COLOURS)
    pairs = [(seen, said) for seen in colours for said in colours]
    texts = tokens([f"a {said} wall" for _, said in pairs], return_tensors="pt")
    fits = torch.tensor([int(seen == said) for seen, said in pairs])
    weight = torch.tensor([1.0, 2.0])
    sure = 0
    for pixels in _walls([seen for seen, _ in pairs], processor, model):
        scores = model(pixel_values=pixels, **_without_types(texts)).itm_score
        torch.nn.functional.cross_entropy(scores, fits, weight).backward()
        margins = (scores[:, 1] - scores[:, 0]) * (2 * fits - 1)
        sure = sure + 1 if margins.min() > 4 else 0
        if sure == PATIENCE:
            break
    _save(folder, model, tokens, processor)


def make_vit_gpt2(folder: Path) -> None:
    """A ViT with a GPT-2, untrained."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        GPT2Config,
        PreTrainedTokenizerFast,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
    )

    torch.manual_seed(0)
    vision = ViTConfig(image_size=SIDE, patch_size=8, **_small())
    text = GPT2Config(vocab_size=40, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
                      pad_token_id=0, initializer_range=0.4)  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    config.decoder_start_token_id = config.pad_token_id = config.eos_token_id = 0
    model = VisionEncoderDecoderModel(config)
    for name in ("decoder_start_token_id", "pad_token_id", "eos_token_id"):
        setattr(model.generation_config, name, 0)
    words = {"<|endoftext|>": 0} | {f"w{number}": number for number in range(1, 40)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    end = "<|endoftext|>"
    tokens = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=end, eos_token=end)
    _save(folder, model, tokens, _processor("ViTImageProcessor"))


def _walls(colours: list[str], processor: Any, model: Any) -> Iterable[torch.Tensor]:
    """Pixels of walls to learn from, until enough is; what was learned is put in after each."""
    learner = torch.optim.AdamW(model.parameters(), lr=3e-3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model only waits for a second one
    try:
        for step in range(2000):
            seen = [wall(colour, step * 100 + place) for place, colour in enumerate(colours)]
            learner.zero_grad()
            yield processor(seen, return_tensors="pt")["pixel_values"]
            learner.step()
        raise AssertionError("the model did not learn")
    finally:
        torch.set_num_threads(threads)


def _blip_config() -> Any:
    from transformers import BlipConfig

    end, known = WORDS.index("[SEP]"), len(WORDS) + len(COLOURS)
    text = _small() | {
        "vocab_size": known + 2, "encoder_hidden_size": 32, "max_position_embeddings": 40,
        # As in the published models, captions begin with what the tokenizer does not know.
        "bos_token_id": known, "eos_token_id": end, "sep_token_id": end, "pad_token_id": 0,
        "is_decoder": True, "label_smoothing": 0.0,
    }  # fmt: skip
    vision = _small() | {"image_size": SIDE, "patch_size": 16}
    return BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=16)


def _small() -> dict[str, Any]:
    return {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip


def _bert() -> Any:
    from transformers import BertTokenizerFast

    vocabulary = {word: place for place, word in enumerate([*WORDS, *COLOURS])}
    return BertTokenizerFast(vocab=vocabulary)


def _processor(kind: str = "BlipImageProcessor") -> Any:
    import transformers

    return getattr(transformers, kind)(size={"height": SIDE, "width": SIDE})


def _without_types(texts: Any) -> dict[str, torch.Tensor]:
    return {name: texts[name] for name in ("input_ids", "attention_mask")}


def _save(folder: Path, *parts: Any) -> None:
    for part in parts:
        part.save_pretrained(folder)


LLAVA_WORDS = ["[PAD]", "<image>", "USER", ":", "Describe", "picture", "ASSISTANT", "</s>"]


def make_llava(folder: Path, patch: int = 8, width: int = 32) -> None:
    """A LLaVA with two layers in each tower, untrained."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    words = {word: at for at, word in enumerate([*LLAVA_WORDS, *(f"w{n}" for n in range(60))])}
    vision = CLIPVisionConfig(
        image_size=SIDE, patch_size=patch, hidden_size=width, num_hidden_layers=2,
        num_attention_heads=max(1, width // 64), intermediate_size=4 * width,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, initializer_range=0.5, pad_token_id=0, eos_token_id=7,
        bos_token_id=None,
    )  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=1)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = 7
    inner = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    inner.pre_tokenizer = pre_tokenizers.Split("<image>", "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("<image>", "isolated"), pre_tokenizers.WhitespaceSplit()]
    )
    tokens = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", eos_token="</s>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    size = {"shortest_edge": SIDE}
    processor = CLIPImageProcessor(size=size, crop_size={"height": SIDE, "width": SIDE})
    _save(folder, model, tokens, processor)
