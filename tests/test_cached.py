"""Models of the hub whose files are on this machine load, and nobody is asked for anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from conftest import picture
from safetensors.torch import save_file

WORDS = 40  # of the tokenizer that is a repository of its own
SMALL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@contextmanager
def hub() -> Iterator[tuple[str, list[str]]]:
    """A hub that has nothing; gives its address, and what it is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def cached(home: Path, repository: str) -> Path:
    """The folder in which the hub's client keeps the files of a repository."""
    kept = home / "hub" / f"models--{repository.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    (place := kept / "snapshots" / ("0" * 40)).mkdir(parents=True)
    # What it was asked for and does not have is remembered too.
    (without := kept / ".no_exist" / ("0" * 40)).mkdir(parents=True)
    (without / "config.json").touch()
    return place


def write_model(place: Path, config: dict[str, Any], is_safe: bool) -> None:
    text = {name: it for name, it in config["text_cfg"].items() if name != "hf_tokenizer_name"}
    model = open_clip.CLIP(
        config["embed_dim"], open_clip.CLIPVisionCfg(**config["vision_cfg"]),
        open_clip.CLIPTextCfg(**text),
    )  # fmt: skip
    means = {"mean": [0.5] * 3, "std": [0.5] * 3}
    told = {"model_cfg": config, "preprocess_cfg": means}
    (place / "open_clip_config.json").write_text(json.dumps(told))
    weights = {name: it.contiguous().clone() for name, it in model.state_dict().items()}
    if is_safe:
        save_file(weights, place / "open_clip_model.safetensors")
    else:
        torch.save(weights, place / "open_clip_pytorch_model.bin")


def write_tokenizer(place: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {name: n for n, name in enumerate(["<pad>", "<unk>", "a", "red", "wall"])}
    tokenizer = Tokenizer(models.WordLevel(words, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(place)


@pytest.mark.parametrize("with_tokenizer", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_what_is_here_is_asked_of_nobody(tmp_path: Path, with_tokenizer: bool) -> None:
    config = SMALL
    if with_tokenizer:
        write_tokenizer(cached(tmp_path, "org/words"))
        text = SMALL["text_cfg"] | {"vocab_size": WORDS, "hf_tokenizer_name": "org/words"}
        config = SMALL | {"text_cfg": text}
    write_model(cached(tmp_path, "org/small"), config, is_safe=with_tokenizer)
    picture(1).save(tmp_path / "1.jpg")
    given = {name: it for name, it in os.environ.items() if name != "HF_HUB_OFFLINE"}
    with hub() as (address, asked):
        done = subprocess.run(
            [sys.executable, "-m", "clipsearch", "score", "1.jpg", "--text", "a red wall",
             "--text", "a", "--model", "hf-hub:org/small"],
            cwd=tmp_path, capture_output=True, text=True, timeout=300,
            env=given | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": address, "no_proxy": "127.0.0.1"},
        )  # fmt: skip
    assert done.returncode == 0, (done.stderr, asked)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2
    assert asked == []
