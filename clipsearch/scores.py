"""Any pictures and texts compared, with or without an index."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from clipsearch import encoders
from clipsearch.encoders.spec import parse_spec
from clipsearch.library import Library
from clipsearch.store.folder import StrPath, usual_is_there

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from clipsearch.photos.decoding.isolated import Processes
    from clipsearch.search.scoring import Scores


def score(
    images: Sequence[StrPath | Image.Image],
    texts: Sequence[str],
    *,
    index: StrPath | None = None,
    model: str | None = None,
    device: str = "auto",
    processes: Processes | None = None,
) -> Scores:
    """How well each text fits each picture, by the index's model or, without one, any.

    The index is the one named, or the default one where there is one and no `model` is named;
    without an index `model` is the one that a new index would get. `processes` decode the images,
    where there are any.

    Raises:
        InvalidInput: no images, no texts, an empty text, or an image that cannot be read.
        LibraryError, ModelError: the index or the model cannot be used.
    """
    from clipsearch.search.pictures import encode_picture, read_picture
    from clipsearch.search.scoring import score_pictures

    if index is not None or (model is None and usual_is_there()):
        with Library.open(index, model=model, device=device, create=False) as library:
            if processes is not None:
                library.ask_with_care(processes)
            return library.score(images, texts)
    wanted = parse_spec(model) if model is not None else None
    encoder = cache(lambda: encoders.load_first(wanted, device, light=True)[1])

    def embed(image: StrPath | Image.Image) -> np.ndarray:
        return encode_picture(read_picture(image), encoder(), processes=processes)

    return score_pictures(images, texts, embed, encoder)
