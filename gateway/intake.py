"""POST /push: accepts or refuses requests, and at a stop waits until every accepted push has its answer.

`requests` parses a request, and `handler` decides its outcome.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.push import Kind, Outcome, Push, Result, is_apns_token
from gateway.rate_limit import RateLimit
from gateway.requests import Refusal, knows_secret, parse, understand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.handler import Handler
    from gateway.metrics import Metrics

MAX_BODY = 16 * 1024  # bytes; a push is a few hundred
BODY_TIMEOUT = 8.0  # seconds; below the web server's own limit, so that a caller gets an answer
COMPLAIN_EVERY = 60.0  # seconds between two log lines about wrong secrets

_log = logging.getLogger(__name__)


class Intake:
    """Requests to /push.

    Args:
        secret: the secret that a caller must send.
        rate_limit: requests with the secret in any second; 0 for no limit.
        handlers: by name; one that does not run is missing.
        metrics: the gateway's.

    Attributes:
        draining: True as soon as a stop begins.
    """

    def __init__(self, secret: bytes, rate_limit: int, handlers: Mapping[str, Handler], metrics: Metrics) -> None:
        self.draining = False
        self._secret = secret
        self._rate = RateLimit(rate_limit)
        self._handlers = handlers
        self._metrics = metrics
        self._accepted = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._wrong = 0  # requests with a wrong secret since the last log line about them
        self._complained = -COMPLAIN_EVERY

    async def drain(self) -> None:
        """Refuse new requests; return when every accepted push has its answer (after 60 seconds at most)."""
        self.draining = True
        await self._idle.wait()

    async def push(self, request: web.Request) -> web.Response:
        """Answer a request."""
        arrived = asyncio.get_running_loop().time()
        try:
            push = await self._accept(request, arrived)
        except Refusal as refusal:
            self._metrics.requests[str(refusal.status)] += 1
            return web.Response(status=refusal.status, text=refusal.text)
        self._accepted += 1
        self._idle.clear()
        try:
            result = await self._deliver(push)
        finally:
            self._accepted -= 1
            if not self._accepted:
                self._idle.set()
        self._metrics.requests["200"] += 1
        headers = {"Push-Outcome": str(result.outcome)}
        if result.since is not None:
            headers["Push-Unregistered-Since"] = str(int(result.since))
        return web.Response(text="OK", headers=headers)

    async def _accept(self, request: web.Request, arrived: float) -> Push:
        """Return the push that a request asks for.

        The rate limit counts only requests with the right secret, so that others cannot use up the bridge's share.

        Raises:
            Refusal: the gateway cannot take it now, or the request is wrong.
        """
        if self.draining:
            raise Refusal(503, "Shutting down")
        if any(coding.lower() != "identity" for coding in request.headers.getall("Content-Encoding", ())):
            raise Refusal(415, "Content-Encoding is not supported")
        body = await _body(request)
        if self.draining:  # since it began to arrive
            raise Refusal(503, "Shutting down")
        fields = parse(request.content_type, body)
        if not knows_secret(fields, self._secret):
            self._complain(arrived)
            raise Refusal(403, "Forbidden")
        if not self._rate.take(asyncio.get_running_loop().time()):
            raise Refusal(429, "Rate limit exceeded")
        return understand(fields, request.headers.get("TTL"), arrived)

    def _complain(self, now: float) -> None:
        """Log a wrong secret, but not each one of a flood."""
        self._wrong += 1
        if now - self._complained >= COMPLAIN_EVERY:
            _log.warning("push with a wrong secret", extra={"requests": self._wrong})
            self._wrong, self._complained = 0, now

    async def _deliver(self, push: Push) -> Result:
        # The specification's Appendix B drops calls to Android; its Section 12 does not.
        name = "voip" if push.kind is Kind.CALL and is_apns_token(push.node) else "fcm"
        handler = self._handlers.get(name)
        if handler is None:
            result = Result(Outcome.UNAVAILABLE, "disabled")
            self._metrics.handlers[name].count(push.kind, result)
            return result
        return await handler.push(push)


async def _body(request: web.Request) -> bytes:
    """Return the body of a request; wait for it no longer than BODY_TIMEOUT.

    Raises:
        Refusal: it is too large, or did not arrive in time.
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
