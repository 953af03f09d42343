"""How well models find, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clipsearch.cli.output import note, print_rows
from clipsearch.notation import counted

if TYPE_CHECKING:
    from clipsearch.evaluation.bootstrap import Estimate
    from clipsearch.evaluation.retrieval import RetrievalReport

KS = (1, 5, 10)
IN_PERCENT = "in percent, with 95% intervals"


def print_retrieval(report: RetrievalReport) -> None:
    """Print what models find, a row a direction and model."""
    columns = ("search", "model", *(f">R@{k}" for k in KS), ">median rank")
    print_rows(columns, list(_retrieval_rows(report)))
    captions = counted(report.captions, "caption")
    note(f"{captions} of {counted(report.images, 'image')}; {IN_PERCENT}")


def _retrieval_rows(report: RetrievalReport) -> Iterator[tuple[str, ...]]:
    for search in ("text_to_image", "image_to_text"):
        for figures in report.models:
            found = getattr(figures, search)
            recalls = (percent(found.recall[k]) for k in KS)
            median = f"{found.median.value:g} ({found.median.low:g}-{found.median.high:g})"
            yield search.replace("_", "-"), figures.model, *recalls, median


def percent(share: Estimate) -> str:
    """A share in percent, and how far the further end of its interval lies."""
    reach = max(share.high - share.value, share.value - share.low)
    return f"{100 * share.value:.1f} ±{100 * reach:.1f}"
