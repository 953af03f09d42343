"""What was asked lately: in a process that stays here, and else in the catalog."""

from __future__ import annotations

from collections.abc import Sequence

from clipsearch.models.loading import Identity, identity_of
from clipsearch.store.catalog import Catalog, Model

MOST_RECENT = 500  # texts; 2 KB each at 512 dimensions

Recent = dict[tuple[Identity, str], bytes]  # little-endian float32 numbers of an embedding


def remembered(
    catalog: Catalog, recent: Recent | None, model: Model, texts: Sequence[str]
) -> dict[str, bytes]:
    """The embeddings of those of the texts that were asked before."""
    if recent is None:
        return catalog.answered(model.id, texts)
    key = identity_of(model)
    known = {text: row for text in texts if (row := recent.get((key, text)))}
    others = [text for text in texts if text not in known]
    return known | catalog.answered(model.id, others)


def remember(catalog: Catalog, recent: Recent | None, model: Model, rows: dict[str, bytes]) -> None:
    """Keep the embeddings of texts that were asked now."""
    if recent is None:
        catalog.remember(model.id, rows)
        return
    key = identity_of(model)
    recent.update({(key, text): row for text, row in rows.items()})
    for oldest in list(recent)[:-MOST_RECENT]:
        recent.pop(oldest, None)
