"""Where photos are, by name: paths of this machine, and URLs such as s3://bucket/photos.

What follows the protocol of a URL is a name as it is: nothing in it is decoded or made shorter, so
'#', '?', '%' and '//' stand for themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from clipsearch.errors import InvalidInput

# A single letter is a drive of Windows.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)

# One name for a protocol that has two, so that one place is one folder of the index.
_ALIASES = {"s3a": "s3", "gcs": "gs"}


# Whether what is named by a URL is fetched: not at all, from wherever it is, or from addresses of
# http and https alone that are on the public web, and not on this machine or its network.
AllowUrl = bool | Literal["public"]


class Url(str):
    """A photo's URL, in the place of the path that a file of this machine has."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """What comes after the last slash."""
        return self.rpartition("/")[2]

    @property
    def parent(self) -> Url:
        """The folder's URL."""
        return Url(self.rpartition("/")[0])

    def as_uri(self) -> str:
        """The URL with all escaped that is not to be in a link."""
        return quote(os.fsencode(self), safe=":/@+")


PhotoPath = Path | Url


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a URL."""
    return _URL.match(os.fspath(path)) is not None


def is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies below it; "" holds everything."""
    if not folder or path == folder:
        return True
    separators = ("/", os.sep)
    return path.startswith(folder) and (folder[-1] in separators or path[len(folder)] in separators)


def is_below_any(path: str, folders: Container[str]) -> bool:
    """As `is_below` for any of many folders, at the cost of one; all are paths with "/"."""
    end = len(path)
    while end > 0:
        if path[:end] in folders:
            return True
        end = path.rfind("/", 0, end)
    return "" in folders


def photo_path(path: str) -> PhotoPath:
    """A path as what it is."""
    return Url(path) if is_url(path) else Path(path)


def parts_of(url: str) -> tuple[str, str, str]:
    """A URL's protocol, the bucket or host that it names, and the name in there."""
    match = _URL.fullmatch(url)
    assert match is not None
    authority, _, name = match[2].partition("/")
    return match[1], authority, name


def normal(url: str) -> str:
    """The one way in which a place at a URL is written; that of a folder ends in no slash.

    Raises:
        InvalidInput: there is a user or a password in it, or no bucket or host.
    """
    protocol, authority, name = parts_of(url)
    if "@" in authority:  # not repeated here: what is said ends in logs
        raise InvalidInput(
            f"a {protocol}:// URL with a user or a password in it is not taken, for URLs are"
            " written down\nLeave it out; credentials are found in the environment"
            " (docs/scale.md)"
        )
    if not (authority or name.strip("/")):
        raise InvalidInput(f"{url} names no bucket or host")
    protocol = protocol.lower()
    rest = url.partition("://")[2].rstrip("/")
    return f"{_ALIASES.get(protocol, protocol)}://{rest}"


def joined(root: str, path: str) -> str:
    """The path of what lies at `path` (with "/", "" for itself) below a root."""
    if not path:
        return root
    if os.sep != "/" and not is_url(root):
        return os.path.join(root, *path.split("/"))
    return f"{root}{path}" if root.endswith("/") else f"{root}/{path}"


def path_below(path: str, root: str) -> str:
    """Where a path lies below a root, with "/"; "" for the root itself."""
    if is_url(root):
        return path[len(root) + 1 :]
    relative = os.path.relpath(path, root).replace(os.sep, "/")
    return "" if relative == "." else relative
