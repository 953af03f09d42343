"""The names of ImageNet's 1,000 classes, as open_clip words them."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path


def class_names() -> list[str]:
    """The names in the order of the classes; two of them stand for two classes each.

    Read from open_clip's file of plain data: importing open_clip would import torch.
    """
    spec = importlib.util.find_spec("open_clip")
    assert spec, "open_clip is a dependency"
    names = runpy.run_path(str(Path(str(spec.origin)).with_name("zero_shot_metadata.py")))
    return list(names["IMAGENET_CLASSNAMES"])
