"""What comes from the Hugging Face hub: from the local cache, and only if need be by network."""

from __future__ import annotations

import http.client
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from threading import Thread
from typing import TypeVar

from huggingface_hub import constants as hub_constants

from clipsearch.cache import sha256_of
from clipsearch.encoders.quiet import quiet
from clipsearch.errors import ModelError, WeightsUnavailable, arg, first_line

log = logging.getLogger("clipsearch")

T = TypeVar("T")


def from_hub(what: str, get: Callable[[], T], ways_on: str = "") -> T:
    """Call `get` with the local cache alone, and only if that fails with the network.

    `ways_on` says what else a person can do, in place of what helps with a model of embeddings.
    """
    try:
        with offline(), quiet():
            return get()
    except ModelError:
        raise
    except Exception:  # each loader wraps "not in the cache" in errors of its own
        see_hub(what, ways_on)
    try:
        return get()
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_weights(what, first_line(error), ways_on) from error


@cache
def _tell_once(what: str) -> None:
    log.info("asking %s for %s", hub_constants.ENDPOINT, what)


def see_hub(what: str, ways_on: str = "") -> None:
    """See that the hub can be asked for weights that are not here; `ways_on` is as in `from_hub`.

    Raises:
        WeightsUnavailable: it cannot.
    """
    if hub_constants.HF_HUB_OFFLINE:
        raise _no_weights(what, "HF_HUB_OFFLINE is set", ways_on)
    _tell_once(what)
    try:
        reach_hub()
    except OSError as error:
        raise _no_weights(what, first_line(error), ways_on) from error


def reach_hub(patience: float = 5) -> str:
    """See within so many seconds that the hub answers; gives its address.

    Raises:
        OSError: it does not, or HF_HUB_OFFLINE forbids to ask.
    """
    # The hub's client tries six times for each file before it says that there is no network.
    address = str(hub_constants.ENDPOINT)
    if hub_constants.HF_HUB_OFFLINE:
        raise OSError(f"{address} is not asked: HF_HUB_OFFLINE is set")
    answered: Future[None] = Future()
    # Looking for a name, and each of its addresses, have no end that could be named to urllib.
    asking = Thread(target=_ask, args=[address, patience, answered], daemon=True)
    asking.start()
    try:
        answered.result(patience)
    except TimeoutError:
        raise OSError(f"{address} did not answer within {patience:g} s") from None
    return address


def _ask(address: str, patience: float, answered: Future[None]) -> None:
    """Ask for an address, and say to `answered` that it was, or why it could not be."""
    try:
        urllib.request.urlopen(
            urllib.request.Request(address, method="HEAD"), timeout=patience
        ).close()
    except urllib.error.HTTPError:
        answered.set_result(None)
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", error)
        reason = getattr(why, "strerror", None) or why
        answered.set_exception(OSError(f"{address} cannot be reached ({reason})"))
    else:
        answered.set_result(None)


def cache_of_hub() -> Path:
    """Where the hub's client keeps what it downloaded."""
    return Path(hub_constants.HF_HUB_CACHE)


def _no_weights(what: str, reason: str, ways_on: str) -> WeightsUnavailable:
    said = f"the weights of {what} are not on this machine and could not be downloaded:\n  {reason}"
    no_download = f"use the model that needs no download: {arg('model')} pocket"
    return WeightsUnavailable(said, ways_on or three_ways(what, no_download))


def three_ways(what: str, no_download: str) -> str:
    """What helps with a model of embeddings; `no_download` says how to do without this one."""
    return (
        "Three ways on:\n"
        "  1. connect to the internet once, or run `clipsearch models download"
        f" {what}` on a machine that is connected and copy its folder"
        f" {hub_constants.HF_HUB_CACHE} here;\n"
        f"  2. name a file or folder that holds them, as {arg('model')} NAME:FILE does;\n"
        f"  3. {no_download} (pip install 'clipsearch[pocket]')."
    )


@contextmanager
def offline() -> Iterator[None]:
    """Have the hub's client look into its cache alone."""
    # The client reads this at each request; a search that is local asks nobody.
    before = hub_constants.HF_HUB_OFFLINE
    hub_constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub_constants.HF_HUB_OFFLINE = before


def weights_hash(file: Path) -> str:
    """The SHA-256 of a weights file, hex.

    Raises:
        ModelError: it cannot be read, or is gone by now.
    """
    # The hub's cache names a file by the hash that the hub states for it.
    real = file.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", real.name):
        return real.name
    try:
        stat = real.stat()
        return _hash_of(real, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise ModelError(f"the weights cannot be read: {first_line(error)}") from error


@lru_cache(maxsize=8)
def _hash_of(file: Path, *version: int) -> str:
    """The SHA-256 of one version of a file, which takes a second where it has 600 MB."""
    del version
    return sha256_of(file)
