"""A sentence about a picture, indexed or not, or about a part of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.encoders.captions import captioner_name, load_captioner
from clipsearch.errors import ModelError, arg
from clipsearch.photos.decoding.decode import to_rgb
from clipsearch.photos.decoding.isolated import Turn
from clipsearch.photos.files.urls import AllowUrl
from clipsearch.search.pictures import Part, asked_with, parse_part, read_picture, seen, view_of
from clipsearch.store.folder import StrPath

if TYPE_CHECKING:
    from PIL import Image

    from clipsearch.photos.decoding.isolated import Processes

# Of a part that is cut out, a share of its longer side: a thing is told by what is around it too.
MARGIN = 0.1


class Describer:
    """A model that writes sentences, its weights loaded."""

    def __init__(
        self, model: str = "blip", alpha: StrPath | None = None, device: str = "auto"
    ) -> None:
        """Load the model.

        Raises:
            InvalidInput: the device does not exist on this machine.
            ModelError, WeightsUnavailable: the model writes no sentences, or cannot be had.
        """
        file = None if alpha is None else Path(os.path.expanduser(alpha))
        if file is not None and not file.is_file():
            raise ModelError(f"{arg('alpha')} {file} is no file; name a checkpoint of Alpha-CLIP")
        self.model = captioner_name(model)
        self._captioner = load_captioner(self.model, device, file)

    def describe(
        self,
        picture: bytes | Image.Image,
        part: Part | None = None,
        processes: Processes | None = None,
    ) -> str:
        """A sentence about a picture, a file's bytes or pixels, or about a part of it.

        A model that can be told a part sees the whole picture with it; any other one sees the part
        cut out, with a margin. `processes` decode it, where there are any.

        Raises:
            PhotoError: it is no picture.
            InvalidInput: the part is not in it.
        """
        prepare = self._captioner.prepare
        if not isinstance(picture, bytes):
            view = seen(to_rgb(picture), prepare, part, MARGIN)
        elif processes is None:
            view = view_of(picture, prepare, prepare.size, part, margin=MARGIN)
        else:
            asked = prepare, prepare.size, part, Turn(), MARGIN
            view = processes.start(view_of, picture, *asked)()
        (text,) = self._captioner.write(view[None])
        return text


def describe(
    image: StrPath | Image.Image,
    *,
    region: str | None = None,
    mask: StrPath | Image.Image | None = None,
    model: str = "blip",
    alpha: StrPath | None = None,
    device: str = "auto",
    allow_url: AllowUrl = False,
) -> str:
    """What a picture shows, in a sentence by a captioning model; it may be empty.

    `region`, "x,y,width,height" in pixels or percent, or `mask`, a picture that is white where the
    part is, tell a part of it. `model` is as for `Library.write_captions`, or "llava:FOLDER"; with
    that one `alpha` may name a checkpoint of Alpha-CLIP, which sees the part in the whole picture.

    Raises:
        InvalidInput: the image or the mask cannot be read, a region that makes no sense, a region
            and a mask, or a device that is not there.
        ModelError, WeightsUnavailable: the model writes no sentences, or cannot be had.
    """
    part = parse_part(region, mask)
    picture = read_picture(image, allow_url)
    describer = Describer(model, alpha, device)
    with asked_with(picture.name):
        return describer.describe(picture.content, part)
