"""What several processes learn of their shares of a batch, as if one had seen all of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.nn import all_gather
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from clipsearch.encoders.joint.world import World
from clipsearch.errors import ModelError, arg


class JointLoss(torch.nn.Module):
    """A loss of what all processes' shares give together; each computes the whole of it.

    The features are gathered with their gradients, as open_clip's losses do with
    `gather_with_grad`. In going back each share's gradient is the sum over all processes, which
    each had the whole loss: so many times what it is. The mean that DistributedDataParallel takes
    makes it right; and of what was never shared out, as the temperature, all have the same.
    """

    def __init__(self, loss: Any, world: World) -> None:
        """`loss` takes what a model gives, by name; rows of a batch but for its `logit_`s."""
        super().__init__()
        self._loss, self._world = loss, world

    def forward(self, output_dict: bool = False, **shares: Tensor) -> Any:
        """What the loss gives of the whole batch."""
        sizes = self._world.told(len(shares["image_features"]))
        whole = {
            name: share if "logit_" in name else _gathered(share, sizes)
            for name, share in shares.items()
        }
        return self._loss(**whole, output_dict=output_dict)


def _gathered(share: Tensor, sizes: list[int]) -> Tensor:
    """All processes' rows, of which each has so many; only as many from each can be gathered."""
    lacking = max(sizes) - len(share)
    padded = torch.nn.functional.pad(share, (0, 0) * (share.ndim - 1) + (0, lacking))
    parts = all_gather(padded)  # type: ignore[no-untyped-call]
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def check_shareable(model: Any, device: str) -> None:
    """Raise ModelError for a model that learns otherwise of shares of a batch than of all of it."""
    learns = any(isinstance(part, _BatchNorm) for part in model.modules())
    if learns and torch.device(device).type != "cuda":
        raise ModelError(
            "a ResNet counts all pictures of a batch (batch norm), which several processes do on"
            f" GPUs alone: start it without torchrun, or add {arg('lock_image')}"
        )


def joint(model: Any) -> Any:
    """A model whose gradients are the mean of all processes'; its weights are the first one's."""
    synchronized: Any = torch.nn.SyncBatchNorm.convert_sync_batchnorm  # where it has batch norms
    return DistributedDataParallel(synchronized(model), static_graph=True)
