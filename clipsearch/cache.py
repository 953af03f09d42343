"""Where is kept what several indexes share and what can always be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """CLIPSEARCH_CACHE, or the platform's folder for caches."""
    chosen = os.environ.get("CLIPSEARCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("clipsearch", appauthor=False)
