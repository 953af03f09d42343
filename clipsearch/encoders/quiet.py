"""Keep libraries' chatter off stderr."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings, and log lines of others than us up to errors."""
    before, ours = logging.root.manager.disable, logging.getLogger("clipsearch")
    heard = ours.manager
    # A logger is as quiet as its manager says; ours gets one that stays as it is now.
    ours.manager = logging.Manager(logging.root)
    ours.manager.disable = heard.disable
    logging.disable(logging.ERROR)  # also has all loggers forget what they were told before
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ours.manager = heard
        logging.disable(before)
