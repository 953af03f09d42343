"""CLIP's own tokenizer in the form of the tokenizers library. Imports no torch."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

# How it splits a cleaned text into words.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_START, _END = "<start_of_text>", "<end_of_text>"
_END_OF_WORD = "</w>"
# The merges of open_clip's file that CLIP was trained with; a line before them tells its version.
_MERGES = slice(1, 49152 - 256 - 2 + 1)


def clip_tokenizer(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], start: int, end: int
) -> Tokenizer:
    """Byte-pair encoding with merges in their order, between the tokens `start` and `end`."""
    pairs = models.BPE(dict(vocabulary), list(merges), end_of_word_suffix=_END_OF_WORD)
    tokenizer = Tokenizer(pairs)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([_START, _END])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $0 {_END}", special_tokens=[(_START, start), (_END, end)]
    )
    return tokenizer


def usual_tokenizer() -> Tokenizer | None:
    """That of nearly all models of open_clip, from its package; None where the file is not there.

    Source: `SimpleTokenizer` of open_clip, after openai/CLIP's.
    """
    found = PathFinder.find_spec("open_clip")
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).with_name("bpe_simple_vocab_16e6.txt.gz")
    if not file.is_file():
        return None
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")[_MERGES]
    merges = [(first, second) for first, second in map(str.split, lines)]
    letters = _letters()
    words = [*letters, *(letter + _END_OF_WORD for letter in letters), *map("".join, merges)]
    vocabulary = {word: number for number, word in enumerate([*words, _START, _END])}
    return clip_tokenizer(vocabulary, merges, vocabulary[_START], vocabulary[_END])


def _letters() -> list[str]:
    """The letter that stands for each byte, those that can be seen first, for themselves."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
    others = 256 - len(seen)
    return [chr(letter) for letter in (*seen, *range(256, 256 + others))]
