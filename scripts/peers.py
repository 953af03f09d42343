"""What the benchmarks need of other programs: the same random weights for all of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

MODEL = "ViT-B-32-256"


def make_weights(file: Path) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = open_clip.create_model(MODEL).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    return file


def export_for_rclip(weights: Path, data: Path) -> Path:
    """The same weights as the ONNX files that rclip keeps in its data folder."""
    import open_clip
    import torch

    class _Text(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.model.encode_text(tokens)

    folder = data / "ViT-B-32-256-datacomp_s34b_b86k"
    folder.mkdir(parents=True)
    model = open_clip.create_model(MODEL, pretrained=str(weights)).eval()
    side = model.visual.image_size[0]
    towers = {
        "visual": (model.visual, torch.zeros(2, 3, side, side)),
        "textual": (_Text(model), torch.zeros(2, 77).long()),
    }
    for name, (tower, example) in towers.items():
        torch.onnx.export(
            tower.eval(),
            (example,),
            folder / f"{name}.onnx",
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
        )
    (data / "tokenizer").mkdir()
    vocabulary = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    shutil.copy(vocabulary, data / "tokenizer")
    return data
