"""Where the folders of an index are on this machine, if they are elsewhere than on its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping

from clipsearch.errors import InvalidInput
from clipsearch.photos.files.urls import is_below
from clipsearch.store.catalog import Catalog
from clipsearch.store.database import mounted_at
from clipsearch.store.folder import StrPath, expanded


def mounted_folders(catalog: Catalog, mounted: Mapping[str, StrPath]) -> dict[str, str]:
    """Where folders of the index are on this machine, both with absolute paths.

    Raises:
        InvalidInput: it names no indexed folder, or a folder here that is none.
    """
    roots = [root.path for root in catalog.roots()]
    here = {}
    for name, target in mounted.items():
        folder, real = os.path.normpath(name), os.path.realpath(expanded(target))
        if not any(is_below(root, folder) for root in roots):
            known = ", ".join(roots) or "none"
            raise InvalidInput(f"{folder} is no folder of this index; its folders are: {known}")
        if not os.path.isdir(real):
            raise InvalidInput(f"there is no folder {real} for {folder}; is it mounted?")
        here[folder] = real
    there = Counter(mounted_at(root, here) for root in roots)
    if twice := [folder for folder, count in there.items() if count > 1]:
        raise InvalidInput(f"two folders of the index cannot both be at {twice[0]}")
    return here
