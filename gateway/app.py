"""The gateway's pages: POST /push and what tells how it is doing. What becomes of a push is `delivery`'s."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from gateway.collector import collect
from gateway.push import Answer, Kind, Outcome, Push
from toolkit import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.core import Metric

    from gateway.delivery import Delivery
    from gateway.metrics import Metrics

MAX_BODY = 16 * 1024  # bytes; a push is a few hundred
BODY_TIMEOUT = 10.0  # seconds; a call would be late by then
MAX_NODE = 4096  # characters; the longest FCM allows
_APNS_TOKEN = re.compile(r"[0-9a-fA-F]{64,}")  # contradiction 6 of the specification: any other node is FCM's

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal(Exception):  # noqa: N818 - an answer, not an error
    """A request to /push that is answered without a push."""

    status: int
    text: str


class RateLimit:
    """At most so many in any second.

    Args:
        limit: 0 for no limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: deque[float] = deque(maxlen=limit)

    def take(self, now: float) -> bool:
        """True if one more is allowed at `now`, in seconds; what is refused does not count."""
        if not self._limit:
            return True
        if len(self._times) == self._limit and now - self._times[0] < 1.0:
            return False
        self._times.append(now)
        return True


class Gateway:
    """The web application.

    Args:
        secret: what a caller must know.
        rate_limit: requests to /push in any second; 0 for no limit.
        deliveries: by handler name; one that does not run is missing.
        metrics: the gateway's.

    Attributes:
        ports: where it listens, in the order in which that began.
    """

    def __init__(self, secret: bytes, rate_limit: int, deliveries: Mapping[str, Delivery], metrics: Metrics) -> None:
        self._secret = secret
        self._rate = RateLimit(rate_limit)
        self.deliveries = deliveries
        self.ports: list[int] = []
        self.metrics = metrics
        self._accepted = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    def application(self, *, push: bool) -> web.Application:
        """The pages; without `push` those that another host may read (contradiction 2)."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._show_metrics)
        if push:
            app.router.add_post("/push", self._push)
            app.router.add_get("/-/healthy", self._healthy)
            app.router.add_get("/-/ready", self._ready)
        return app

    async def drain(self) -> None:
        """Refuse what is new; return when all that was accepted has its answer (60 seconds at most: the deadlines)."""
        self._draining = True
        await self._idle.wait()

    def collect(self) -> Iterable[Metric]:
        """The metric families now; makes this a registry for `generate_latest`."""
        return collect(self.metrics, {name: delivery.status() for name, delivery in self.deliveries.items()})

    # The pages

    async def _push(self, request: web.Request) -> web.Response:
        arrived = asyncio.get_running_loop().time()
        try:
            fields = await self._read(request, arrived)
            push = self._understand(fields, request.headers.get("TTL"), arrived)
        except Refusal as refusal:
            self.metrics.requests[str(refusal.status)] += 1
            return web.Response(status=refusal.status, text=refusal.text)
        self._accepted += 1
        self._idle.clear()
        try:
            answer = await self._deliver(push)
        finally:
            self._accepted -= 1
            if not self._accepted:
                self._idle.set()
        self.metrics.requests["200"] += 1
        headers = {"Push-Outcome": str(answer.outcome)}
        if answer.since is not None:
            headers["Push-Unregistered-Since"] = str(int(answer.since))
        return web.Response(text="OK", headers=headers)

    async def _health(self, _: web.Request) -> web.Response:
        def said(handler: str, word: str) -> str:
            delivery = self.deliveries.get(handler)
            return "disabled" if delivery is None else word if delivery.provider.ready else "unavailable"

        return web.json_response(
            {
                "status": "draining" if self._draining else "ok",
                "uptime": int(time.monotonic() - self.metrics.started),
                "apns": said("voip", "connected"),
                "fcm": said("fcm", "initialized"),
                "version": __version__,
            }
        )

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _ready(self, _: web.Request) -> web.Response:
        if self._draining:
            return web.Response(status=503, text="shutting down\n")
        if not any(delivery.ready for delivery in self.deliveries.values()):
            return web.Response(status=503, text="no provider can be reached\n")
        return web.Response(text="ready\n")

    # From a request to a push

    async def _read(self, request: web.Request, now: float) -> Mapping[str, object]:
        """The fields of a request.

        Raises:
            Refusal: it cannot be taken now, or not like this.
        """
        if self._draining:
            raise Refusal(503, "Shutting down")
        if not self._rate.take(now):
            raise Refusal(429, "Rate limit exceeded")
        if any(coding.lower() != "identity" for coding in request.headers.getall("Content-Encoding", ())):
            raise Refusal(415, "Content-Encoding is not supported")
        body = await _body(request)
        if self._draining:  # since it began to arrive
            raise Refusal(503, "Shutting down")
        return parse(request.content_type, body)

    def _understand(self, fields: Mapping[str, object], ttl: str | None, arrived: float) -> Push:
        """The push that a request asks for.

        Raises:
            Refusal: not with this secret, or no such push.
        """
        secret = fields.get("secret")
        given = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else b""
        if not hmac.compare_digest(given, self._secret):
            _log.warning("push with a wrong secret")
            raise Refusal(403, "Forbidden")
        node, kind = fields.get("node"), fields.get("type")
        if not isinstance(node, str) or not node:
            raise Refusal(400, "Missing device token (node)")
        if len(node) > MAX_NODE:
            raise Refusal(400, "Device token (node) is too long")
        if kind not in list(Kind):
            raise Refusal(400, "Unknown type: must be call or message")
        kind = Kind(str(kind))
        worth = kind.worth
        if ttl is not None and ttl.isascii() and ttl.isdecimal() and len(ttl) < 6:  # noqa: PLR2004 - digits
            worth = min(worth, float(ttl))
        return Push(node, kind, arrived, arrived + worth, time.time() + worth, str(uuid.uuid4()))

    async def _deliver(self, push: Push) -> Answer:
        to_apns = push.kind is Kind.CALL and _APNS_TOKEN.fullmatch(push.node)
        handler = "voip" if to_apns else "fcm"
        delivery = self.deliveries.get(handler)
        if delivery is None:
            self.metrics.handlers[handler].fail("disabled")
            return Answer(Outcome.UNAVAILABLE, "disabled")
        return await delivery.push(push)


async def _body(request: web.Request) -> bytes:
    """The body of a request; waits for it no longer than BODY_TIMEOUT.

    Raises:
        Refusal: it is too large, or does not come.
    """
    try:
        if request.content.is_eof():  # nearly always: it came with the header
            return await request.read()
        async with asyncio.timeout(BODY_TIMEOUT):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refusal(413, "Too large") from None
    except TimeoutError:
        raise Refusal(408, "The body did not come") from None
    except (ConnectionError, HttpProcessingError):
        raise Refusal(400, "Unreadable body") from None


def parse(content_type: str, body: bytes) -> Mapping[str, object]:
    """The fields of a JSON or form body; none if it is JSON but no object.

    Raises:
        Refusal: 415 for any other content type, 400 for a body that cannot be read.
    """
    try:
        if content_type == "application/json":
            fields = json.loads(body)
            return fields if isinstance(fields, dict) else {}
        if content_type == "application/x-www-form-urlencoded":
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
    except (ValueError, RecursionError):
        raise Refusal(400, "Unreadable body") from None
    raise Refusal(415, "Must be application/json or application/x-www-form-urlencoded")
