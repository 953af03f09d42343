"""Files of weights that hold something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

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
