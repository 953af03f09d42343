"""A client of an engine, once for each address, and how new the engine is."""

from __future__ import annotations

import logging
import os
import re
from functools import cache
from typing import Any

from clipsearch.errors import LibraryError
from clipsearch.store.milvus.address import SCHEME, TOKEN
from clipsearch.store.milvus.errors import explained

OLDEST = (2, 3)  # the first that replaces entities (upsert)
HALF_PRECISION = (2, 4)  # the first that keeps float16

CONNECT_SECONDS = 10.0


def check_engine(address: str) -> None:
    """Raise LibraryError unless an engine that is new enough answers there."""
    with explained(address):
        version_of(connected(address))


def connected(address: str) -> Any:
    """A client of the engine at an address; one for all that ask in this process."""
    return _connected(address, os.environ.get(TOKEN, ""))


@cache
def _connected(address: str, token: str) -> Any:
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise LibraryError(
            f"the vectors of this index are in {address}, and what speaks to it is not installed:"
            " pip install 'clipsearch[milvus]'"
        ) from error
    # It writes a traceback for what is raised as well.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)
    client = MilvusClient(address.removeprefix(SCHEME), token=token, timeout=CONNECT_SECONDS)
    found = version_of(client)
    if found < OLDEST:
        raise LibraryError(
            f"the engine at {address} is Milvus {_dotted(found)}, and {_dotted(OLDEST)} or newer is"
            " needed; update it there"
        )
    return client


def version_of(client: Any) -> tuple[int, ...]:
    """An engine's version, (major, minor)."""
    numbers = re.findall(r"\d+", client.get_server_version())
    return tuple(map(int, numbers[:2]))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
