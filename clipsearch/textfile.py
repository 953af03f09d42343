"""Files of text that people write: lists of labels, tables of captions."""

from __future__ import annotations

from pathlib import Path

from clipsearch.errors import InvalidInput


def text_of(file: Path, what: str) -> str:
    """The text in a file that is to be `what`, without a mark of the order of bytes.

    Raises:
        InvalidInput: the file cannot be read, or is no UTF-8.
    """
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is no {what}: it is not UTF-8 text") from error
