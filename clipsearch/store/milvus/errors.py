"""What an engine and its client say went wrong, in a line that names the machine and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from clipsearch.errors import LibraryError
from clipsearch.store.milvus.address import TOKEN


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Turn what the client raises into LibraryError that names the machine and the remedy."""
    try:
        from grpc import RpcError
        from pymilvus.exceptions import MilvusException
    except ImportError:
        yield
        return
    try:
        yield
    except (MilvusException, RpcError) as error:
        raise LibraryError(_explanation(address, error)) from error


def _explanation(address: str, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "message", "") or error).split())
    behind = f"{reason} {error.__cause__} {error.__context__}"  # where a wrong token is told
    if re.search(r"auth check failure|unauthenticated|permission deny|privilege", behind, re.I):
        return (
            f"the engine at {address} does not take the token; put user:password, or a key that may"
            f" write there, into {TOKEN}"
        )
    if re.search(r"fail connecting|unavailable|deadline|timeout|failed to connect", reason, re.I):
        return (
            f"no engine answers at {address}; start it there, or search the files of the index"
            " again: clipsearch store move faiss"
        )
    return f"the engine at {address} refuses: {reason}"
