"""The tensors of a checkpoint that some training wrote: a file that need not be one at all."""

from __future__ import annotations

from pathlib import Path

import torch
from open_clip.factory import load_state_dict

from clipsearch.errors import ModelError, first_line

State = dict[str, torch.Tensor]


def tensors_in(file: Path) -> State:
    """The tensors of a file by name, as they are.

    Raises:
        ModelError: it cannot be read, or holds something else.
    """
    other = ModelError(
        f"{file} holds something else than weights, or only a part; name a checkpoint of the model"
    )
    try:
        found = load_state_dict(str(file))
    except (AttributeError, EOFError, LookupError, StopIteration, TypeError) as error:
        raise other from error
    except Exception as error:  # unpickling and unpacking damaged bytes raise nearly anything
        raise ModelError(f"the weights in {file} cannot be read: {first_line(error)}") from error
    if not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise other
    return dict(found)
