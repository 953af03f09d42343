"""Photos at URLs, listed and read by fsspec: in buckets, and on whatever else it speaks to.

Nothing of it is imported before the first URL. Listings come with sizes and times, so that no
object is asked for alone, and none is kept: the next one shows what is there then.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO, NamedTuple

from clipsearch.errors import FileUnreadable, InvalidInput, PhotoError, first_line
from clipsearch.photos.facts.facts import NO_TIME
from clipsearch.photos.files.urls import joined, parts_of

# The optional group that a protocol needs, and where credentials for it come from.
_GROUPS = {"s3": "s3", "gs": "gcs"}
_CREDENTIALS = {
    "s3": "aws configure, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket"
    " FSSPEC_S3_ANON=true",
    "gs": "gcloud auth application-default login; for a public bucket FSSPEC_GS_TOKEN=anon",
}

# Where stores write when an object changed, and what tells its content from others.
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
_CHECKSUMS = ("ETag", "etag", "md5Hash", "crc32c", "content_md5", "checksum")

_BLOCK = 4 << 20  # bytes fetched at a time where a file is read in parts


class Entry(NamedTuple):
    """What lies right in a folder."""

    name: str
    is_folder: bool
    size: int = 0  # bytes
    mtime_ns: int = 0  # or another number that changes with the content; see `_version`


def check_root(url: str) -> None:
    """Look whether there is a folder at a URL, written as `normal` does, that can be listed.

    Raises:
        InvalidInput: there is none, or this machine cannot list it.
    """
    protocol, _, name = parts_of(url)
    if protocol in ("http", "https"):
        raise InvalidInput(
            f"{url} cannot be indexed: the web has no listings of files\nIf it is a bucket, name"
            " it as such: s3://bucket/folder"
        )
    if protocol in ("file", "local"):
        raise InvalidInput(f"{url} is on this machine; name the folder without {protocol}://")
    try:
        is_empty = next(iter(entries(url, "")), None) is None
    except FileNotFoundError as error:
        raise InvalidInput(f"there is no bucket or folder {url}") from error
    except OSError as error:
        raise InvalidInput(f"{url} cannot be indexed: {error.strerror}") from error
    if is_empty and name:  # a store knows no folder but as a beginning of names
        raise InvalidInput(f"there is no folder {url}: no name in the bucket begins so")


def fault_of(url: str) -> str | None:
    """Why this machine cannot list the folder at a URL; None if it can."""
    try:
        next(iter(entries(url, "")), None)
    except OSError as error:
        return error.strerror
    return None


def is_file(url: str) -> bool:
    """Whether a file lies at a URL, as far as this machine can tell."""
    try:
        with _told(url) as system:
            return bool(system.info(system._strip_protocol(url))["type"] == "file")
    except OSError:
        return False


def entries(root: str, prefix: str) -> Iterator[Entry]:
    """What lies right in a folder below a root; `prefix` is its path, ending in "/", "" for none.

    Raises:
        OSError: it cannot be listed; `strerror` tells a person why.
    """
    with _told(root) as system:
        protocol, bucket, name = parts_of(root)
        if protocol == "s3":
            yield from _in_bucket(system, bucket, f"{name}/{prefix}" if name else prefix)
        else:
            yield from _listed(system, joined(root, prefix[:-1]) if prefix else root)


def read(url: str, most: int) -> bytes:
    """The bytes of a file.

    Raises:
        FileUnreadable: they cannot be had, now.
        PhotoError: there are none, or more than `most`.
    """
    try:
        content = fetch(url, most + 1)
    except OSError as error:
        raise FileUnreadable(error.strerror) from error
    if not content:
        raise PhotoError("the file is empty")
    if len(content) > most:
        raise PhotoError(f"a file above the limit of {most >> 30} GB")
    return content


def fetch(url: str, most: int) -> bytes:
    """The first `most` bytes of a file, by one request.

    Raises:
        OSError: they cannot be had; `strerror` tells a person why.
    """
    with _told(url) as system:
        path = system._strip_protocol(url)
        try:
            # Where a part is asked for, no store is asked for the size of the whole first.
            content: bytes = system.cat_file(path, start=0, end=most)
        except (FileNotFoundError, PermissionError):
            raise
        except OSError:
            if system.info(path)["size"]:
                raise
            return b""  # of what is empty no part can be had
        return content


def open_file(url: str) -> tuple[BinaryIO, int, int]:
    """A file to read in parts, its size and its `mtime_ns`; the caller closes it.

    Raises:
        FileUnreadable: it cannot be had, now.
    """
    try:
        with _told(url) as system:
            path = system._strip_protocol(url)
            info = system.info(path)
            return system.open(path, "rb", block_size=_BLOCK), int(info["size"]), _version(info)
    except OSError as error:
        raise FileUnreadable(error.strerror) from error


def _in_bucket(system: Any, bucket: str, prefix: str) -> Iterator[Entry]:
    """What S3 lists, a page at a time and each name as it is.

    fsspec's own listing holds a whole folder, and takes 'a//b' for 'a/b'.
    """
    more: dict[str, str] = {}
    while True:
        page = system.call_s3(
            "list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", **more
        )
        for folder in page.get("CommonPrefixes", ()):
            yield Entry(folder["Prefix"][len(prefix) : -1], True)
        for it in page.get("Contents", ()):
            if it["Key"] != prefix:  # what some programs write for an empty folder
                yield Entry(it["Key"][len(prefix) :], False, int(it["Size"]), _version(it))
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _listed(system: Any, url: str) -> Iterator[Entry]:
    own = system._strip_protocol(url).rstrip("/")
    system.invalidate_cache()
    for info in system.ls(own, detail=True):
        whole = info["name"].rstrip("/")
        name = whole.rpartition("/")[2]
        if whole == own or not name:
            continue  # a file is listed as if it lay in itself
        if info["type"] == "directory":
            yield Entry(name, True)
        elif info["type"] == "file" and not info["name"].endswith("/"):
            yield Entry(name, False, int(info["size"] or 0), _version(info))


def _version(info: Mapping[str, Any]) -> int:
    """When an object changed, in nanoseconds; what is below a second comes from its checksum.

    Stores tell whole seconds, in which an object may change twice and keep its size. Where a
    store tells no time, the number stands for the checksum alone, and is below NO_TIME.
    """
    times = (_seconds(info[key]) for key in _TIMES if info.get(key))
    seconds = next((it for it in times if it is not None), None)
    checksum = next((str(info[key]) for key in _CHECKSUMS if info.get(key)), "")
    number = int.from_bytes(hashlib.sha256(checksum.encode()).digest()[:8], "big")
    if seconds is None:
        return 2 * NO_TIME + number % -NO_TIME if checksum else 0
    if not checksum:
        return int(seconds * 1e9)
    return int(seconds) * 1_000_000_000 + number % 1_000_000_000


def _seconds(time: Any) -> float | None:
    if isinstance(time, (int, float)):
        return float(time)
    try:
        moment = time if isinstance(time, datetime) else datetime.fromisoformat(str(time))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


# What speaks to a store

# By process, since what is inherited by a fork does not work, and where it needs that by thread.
_systems: dict[tuple[object, ...], Any] = {}
_making = threading.Lock()


@contextmanager
def _told(url: str) -> Iterator[Any]:
    """What speaks to the store of a URL; all that goes wrong becomes an OSError with a reason."""
    protocol, _, _ = parts_of(url)
    system = _system(url)
    try:
        yield system
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "it is not there") from error
    except Exception as error:  # every store has exceptions of its own
        raise OSError(errno.EIO, _reason(protocol, error)) from error


def _system(url: str) -> Any:
    protocol, authority, _ = parts_of(url)
    kind = _kind(protocol)
    options = kind._get_kwargs_from_urls(f"{protocol}://{authority}/")
    thread = None if kind.async_impl else threading.get_ident()
    key = (os.getpid(), thread, protocol, repr(options))
    with _making:
        if key not in _systems:
            if kind.async_impl:
                options["use_listings_cache"] = False
            try:
                _systems[key] = kind(**options, skip_instance_cache=True)
            except Exception as error:  # no host, no credentials, a setting that means nothing
                raise OSError(errno.EIO, _reason(protocol, error)) from error
        return _systems[key]


def _kind(protocol: str) -> Any:
    """fsspec's class for a protocol.

    Raises:
        OSError: there is none, or its package is not installed.
    """
    group = _GROUPS.get(protocol)
    try:
        import fsspec

        return fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        remedy = f"pip install 'clipsearch[{group}]'" if group else f"a package: {error}"
        raise OSError(errno.EINVAL, f"{protocol}:// needs {remedy}") from error
    except ValueError as error:
        raise OSError(
            errno.EINVAL, f"{protocol}:// is unknown; s3:// and gs:// are known"
        ) from error


def _reason(protocol: str, error: Exception) -> str:
    """What went wrong, in a line that holds no query of a URL."""
    if "Credentials" in type(error).__name__:
        where = _CREDENTIALS.get(protocol)
        return f"no credentials were found{f' ({where})' if where else ''}"
    said = getattr(error, "strerror", None) or first_line(error)
    return re.sub(r"\?[^\s\"']*", "", said).rstrip(".") or type(error).__name__
