"""How the server does, for Prometheus."""

from __future__ import annotations

import logging
import time

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsearch.web.sending.files import BrokenOff

log = logging.getLogger("clipsearch")

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """What is counted, from the start of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "clipsearch_requests", "Requests", ["route", "method", "status"],
            registry=self._registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "clipsearch_request_seconds", "From a request to the end of its answer", ["route"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self.batches = Histogram(
            "clipsearch_questions_together", "Questions that were answered together",
            buckets=(1, 2, 4, 8, 16, 32), registry=self._registry,
        )  # fmt: skip

    def answer(self) -> Response:
        """All of it in Prometheus's text form."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


# What clients invent beside these is counted together, or they would fill the memory.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Measured:
    """An application whose requests are counted and timed, by route and not by path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, send_seen)
        except BrokenOff as error:
            log.warning("%s", error)
        except Exception as error:  # it was answered already, where that was still possible
            log.error(
                "unexpected %s at %s: %s; this is a fault of clipsearch",
                type(error).__name__, scope["path"], error,
                exc_info=log.isEnabledFor(logging.DEBUG),
            )  # fmt: skip
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)
