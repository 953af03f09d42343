"""What texts are compared by: the same for ways of writing that people take for the same."""

from __future__ import annotations

from unicodedata import combining, normalize


def folded(text: str) -> str:
    """A text without what case and ways of writing the same letter differ in."""
    return normalize("NFKC", normalize("NFKC", text).casefold())


def plain_name(name: str) -> str:
    """A name's words without case, accents and signs, one blank between them."""
    lower = name.lower()
    if lower.isascii() and lower.replace(" ", "").isalnum():  # as most are, and a tenth the work
        return " ".join(lower.split())
    letters = (it for it in normalize("NFKD", name).casefold() if not combining(it))
    return " ".join("".join(it if it.isalnum() else " " for it in letters).split())
