"""The tensors of a checkpoint that some training wrote: a file that need not be one at all."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from open_clip.factory import load_state_dict

from clipsearch.errors import ModelError, first_line

OTHER = "something else than weights, or only a part"
_OF_OTHERS = (AttributeError, EOFError, LookupError, StopIteration, TypeError)


def reason_of(error: Exception) -> str:
    """Why weights could not be read, without PyTorch's advice to run what is in a pickle."""
    if isinstance(error, UnpicklingError):
        return "it is no file of plain tensors: what else a pickle holds can run code"
    if "PytorchStreamReader" in str(error):
        return "it is damaged, or cut off"
    return f"it holds {OTHER}" if isinstance(error, _OF_OTHERS) else first_line(error)


State = dict[str, torch.Tensor]


def tensors_in(file: Path) -> State:
    """The tensors of a file by name, as they are.

    Raises:
        ModelError: it cannot be read, or holds something else.
    """
    other = ModelError(f"{file} holds {OTHER}; name a checkpoint of the model")
    try:
        found = load_state_dict(str(file))
    except _OF_OTHERS as error:
        raise other from error
    except Exception as error:  # unpickling and unpacking damaged bytes raise nearly anything
        raise ModelError(f"the weights in {file} cannot be read: {reason_of(error)}") from error
    if not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise other
    return dict(found)
