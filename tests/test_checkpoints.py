"""Files of weights that hold something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from PIL import Image

from clipsearch.encoders import load, parse_spec
from clipsearch.errors import ModelError


@pytest.mark.parametrize("held", [{"epoch": 1}, {"state_dict": {1: torch.zeros(1)}}, [1, 2], {}])
@pytest.mark.parametrize("family", ["chinese-clip", "alpha-clip"])
def test_a_file_that_holds_no_weights_is_refused_in_plain_words(
    family: str, held: Any, tmp_path: Path
) -> None:
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r"a\.pt holds .*; name a checkpoint of the model"):
        load(parse_spec(f"{family}:{tmp_path / 'a.pt'}"), "cpu", "fp32")


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("name", ["alpha-clip:{}", "chinese-clip:{}", "ViT-S-32-alt:{}"])
def test_nobody_is_advised_to_run_what_is_in_a_pickle(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Code()}, tmp_path / "code.pt")
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:2000])
    Image.new("RGB", (8, 8)).save(tmp_path / "cat.jpg")
    for file in ("code.pt", "cut.pt", "cat.jpg"):
        with pytest.raises(ModelError) as told:
            load(parse_spec(name.format(tmp_path / file)), "cpu", "fp32")
        assert "weights_only" not in str(told.value)
        assert "miniz" not in str(told.value)
    assert not (tmp_path / "ran").exists()


def test_a_weight_that_a_checkpoint_lacks_is_named(tmp_path: Path) -> None:
    vision = CLIPVisionCfg(layers=1, width=64, patch_size=8, image_size=32)
    clip = CLIP(24, vision, CLIPTextCfg(width=64, heads=1, layers=1), quick_gelu=True)
    held = dict(clip.state_dict()) | {"visual.conv1_alpha.weight": torch.zeros(64, 1, 8, 8)}
    del held["visual.ln_post.weight"]
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r'Missing key.*"visual\.ln_post\.weight"') as told:
        load(parse_spec(f"alpha-clip:{tmp_path / 'a.pt'}"), "cpu", "fp32")
    assert "\n" not in str(told.value)
