"""The catalog: what is known of every photo, in one SQLite file. It is the truth.

`Catalog` is one connection with all that can be asked of it and written to it, a module a subject:

    models     the models whose vectors it has
    roots      folders, their rules, exclusions and seams
    photos     photos and their facts, and which a condition selects
    localities where they were taken, in words
    failures   files that could not be read
    pictures   perceptual hashes, for duplicates
    vectors    what models made of contents
    writing    a batch of all these, kept whole; what leaves departs
    words      questions, captions, what is found by words
    engines    an engine outside that has the vectors, and what it has yet to be told

`connection` is what they have in common, `records` what they give and take, and `facts` how a photo
is a row, and what files beside it tell of it. `selection` turns conditions into SQL, which only
this room and `store/database` know.
"""

from clipsearch.store.catalog.engines import Engines
from clipsearch.store.catalog.facts.sidecars import Sidecars
from clipsearch.store.catalog.failures import Failures
from clipsearch.store.catalog.localities import Localities
from clipsearch.store.catalog.photos import Photos
from clipsearch.store.catalog.pictures import Pictures
from clipsearch.store.catalog.records import (
    Changes,
    Engine,
    EnginePhoto,
    Failure,
    Known,
    Listing,
    Model,
    NewPhoto,
    PhotoFile,
    PhotoRow,
    Root,
    Seams,
    StoredPhoto,
    Told,
    root_of,
)
from clipsearch.store.catalog.vectors import Vectors
from clipsearch.store.catalog.words import Words
from clipsearch.store.catalog.writing import Writing
from clipsearch.store.conditions import EVERYTHING

__all__ = [
    "EVERYTHING",
    "Catalog",
    "Changes",
    "Engine",
    "EnginePhoto",
    "Failure",
    "Known",
    "Listing",
    "Model",
    "NewPhoto",
    "PhotoFile",
    "PhotoRow",
    "Root",
    "Seams",
    "StoredPhoto",
    "Told",
    "root_of",
]


class Catalog(Photos, Localities, Sidecars, Failures, Pictures, Vectors, Writing, Words, Engines):
    """The catalog of one index folder."""
