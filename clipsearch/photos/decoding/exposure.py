"""How a photo was exposed, read from its file."""

from __future__ import annotations

from clipsearch.photos.decoding.decode import exif_of
from clipsearch.photos.decoding.isolated import untimed
from clipsearch.photos.facts.exposure import Exposure, read_exposure
from clipsearch.photos.files.opening import Place, read_below


def exposure_of(place: Place) -> Exposure:
    """What the file of a photo tells of its exposure.

    Raises:
        PhotoError: it cannot be read, or is no picture.
    """
    with untimed():
        content = read_below(place)
    return read_exposure(exif_of(content))
