"""Files of a folder that show the same picture: a RAW beside its JPEG, a camera's thumbnail."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from clipsearch.photos.scanning.listing import Found
from clipsearch.photos.scanning.names import RAW_EXTENSIONS, THUMBNAIL

# What a camera writes beside a RAW file: the same picture, developed.
_DEVELOPED = frozenset({".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif"})


def without_twins(photos: Sequence[Found], raw_too: bool) -> Iterator[Found]:
    """The photos of one folder, without what shows another one of them.

    Such are thumbnails, and, unless `raw_too`, RAW files whose picture lies there developed.
    """
    parts = [os.path.splitext(photo.path.lower()) for photo in photos]
    developed = {stem for stem, extension in parts if extension in _DEVELOPED}
    pictures = {stem for stem, extension in parts if extension != THUMBNAIL}
    for photo, (stem, extension) in zip(photos, parts, strict=True):
        if extension == THUMBNAIL:
            is_twin = stem in pictures
        else:
            is_twin = extension in RAW_EXTENSIONS and stem in developed and not raw_too
        if not is_twin:
            yield photo
