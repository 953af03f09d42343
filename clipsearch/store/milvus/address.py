"""Where an engine is: its address, as a person writes it and as an index remembers it."""

from __future__ import annotations

import re

from clipsearch.errors import InvalidInput

SCHEME = "milvus:"
TOKEN = "CLIPSEARCH_MILVUS_TOKEN"  # user:password, or a key; never written down


def read_address(text: str) -> str:
    """An engine's address as it is written down: "milvus:http://host:19530".

    Raises:
        InvalidInput: it is none.
    """
    url = text.removeprefix(SCHEME)
    if "://" not in url:
        url = f"http://{url}"
    match = re.fullmatch(r"https?://([\w.\-]+|\[[0-9a-fA-F:]+\])(:\d+)?(/\w*)?", url)
    if "@" in url:
        raise InvalidInput(
            f"an address is remembered with the index, so it holds no secret; put it into {TOKEN}"
        )
    if not text.startswith(SCHEME) or match is None:
        raise InvalidInput(
            f"{text!r} is no store; write milvus:http://HOST:19530, with /DATABASE behind it if it"
            " is not the default one"
        )
    if match[2] and not 0 < int(match[2][1:]) < 65536:
        raise InvalidInput(f"{match[2][1:]} is no port: {text!r}")
    port = "" if match[2] else ":19530"
    return f"{SCHEME}{url.partition('://')[0]}://{match[1]}{match[2] or port}{match[3] or ''}"
