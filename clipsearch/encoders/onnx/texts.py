"""Words to vectors without torch: a text tower that was exported to ONNX, and its tokenizer.

`clipsearch.encoders.onnx.text_export` writes one folder a model into the user's cache; several
indexes share it. What cannot be read is taken away, so that it is written anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.cache import cache_folder

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("clipsearch")

FORMAT = 2  # raised when an older version could not use what is written here
TOWER, TOKENIZER, RULES = "tower.onnx", "tokenizer.json", "rules.json"

_BATCH = 32  # texts that one thread embeds at a time

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What is done to a text, and to its tokens, before the tower reads them."""

    context: int  # tokens at most; of a longer text the first and the end token count
    clean: str  # "lower", "canonicalize" or "whitespace", as open_clip names them; "" for nothing
    padding: int | None = None  # token that fills up to `context`; None: as long as the text
    replaced: int | None = None  # token that counts as 0
    causal: bool = False  # what follows the end token changes nothing


class ExportedTexts:
    """An exported text tower: `encode_texts` and `count_tokens` as an `Encoder` has them.

    One that is to `stay` starts slower, and answers twice as fast; it gives each call one thread,
    since its callers are several.
    """

    def __init__(self, folder: Path, stay: bool = False) -> None:
        import onnxruntime
        import tokenizers

        told = json.loads((folder / RULES).read_text("utf-8"))
        self.logit_scale = float(told.pop("logit_scale"))
        self.logit_bias: float | None = told.pop("logit_bias")
        self._rules = TokenRules(**told)
        self.context = self._rules.context
        self._stays = stay
        self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        # The graph was optimized when it was written; packing its weights again takes ten times
        # as long as one query, and so does waking a second thread.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if not stay:
            options.add_session_config_entry("session.disable_prepacking", "1")
        options.intra_op_num_threads = 1
        self._tower: Any = onnxruntime.InferenceSession(
            folder / TOWER, options, providers=["CPUExecutionProvider"]
        )

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit rows. Tokens past `context` are cut."""
        import numpy as np

        tokens = [self._cut(self._tokens(text)) for text in texts]
        rows = np.empty((len(texts), self._dim), np.float32)

        def embed(numbers: Sequence[int]) -> None:
            batch = np.zeros((len(numbers), len(tokens[numbers[-1]])), np.int64)
            for row, number in zip(batch, numbers, strict=True):
                row[: len(tokens[number])] = tokens[number]
            rows[numbers] = self._tower.run(None, {"tokens": batch})[0]

        batches = self._batches([len(some) for some in tokens])
        if self._stays or len(batches) == 1:
            for batch in batches:
                embed(batch)
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(embed, batches))
        return rows

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """The numbers of texts with so many tokens, in batches; the longest of a batch comes last.

        A batch is of one length, or nearly so if the tower is causal.
        """
        batches: list[list[int]] = []
        longest = 0
        for number in sorted(range(len(lengths)), key=lengths.__getitem__):
            if lengths[number] > longest or len(batches[-1]) == _BATCH:
                batches.append([])
                longest = lengths[number] + (lengths[number] // 4 if self._rules.causal else 0)
            batches[-1].append(number)
        return batches

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has, start and end tokens included."""
        return len(self._tokens(text))

    @property
    def _dim(self) -> int:
        return int(self._tower.get_outputs()[0].shape[1])

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer.encode(clean(text, self._rules.clean)).ids
        return tokens

    def _cut(self, tokens: list[int]) -> list[int]:
        rules = self._rules
        if len(tokens) > rules.context:
            tokens = [*tokens[: rules.context - 1], tokens[-1]]
        if rules.padding is not None:
            tokens = tokens + [rules.padding] * (rules.context - len(tokens))
        return [0 if token == rules.replaced else token for token in tokens]


def open_exported(weights: str, preprocess: str, stay: bool = False) -> ExportedTexts | None:
    """The exported text tower of a model, None where there is none that works.

    `stay` is as for `ExportedTexts`.
    """
    folder = folder_of(weights, preprocess)
    if not (folder / RULES).is_file():
        return None
    try:
        return ExportedTexts(folder, stay)
    except Exception as error:  # what onnxruntime and tokenizers raise on damaged files varies
        log.debug("the exported text tower in %s is of no use: %s", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def folder_of(weights: str, preprocess: str) -> Path:
    """Where a model's text tower is exported to, in the cache folder.

    `preprocess` is part of a model's identity, and says how its activation is computed.
    """
    key = hashlib.sha256(f"{FORMAT} {weights} {preprocess}".encode()).hexdigest()
    return cache_folder() / "text" / key[:16]


def clean(text: str, how: str) -> str:
    """A text as open_clip's tokenizers clean it, by the name that open_clip gives to the way."""
    if not how:
        return text
    import html

    # ftfy has nothing to mend in plain ASCII, and takes a twentieth of a second to import.
    if not (text.isascii() and text.isprintable()):
        import ftfy

        text = ftfy.fix_text(text)
    text = html.unescape(html.unescape(text))
    if how == "canonicalize":
        text = text.replace("_", " ").translate(_NO_PUNCTUATION)
    text = " ".join(text.split())
    return text if how == "whitespace" else text.lower()
