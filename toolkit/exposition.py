"""Metric families as an HTTP response, in the format and encoding that the request asks for. It reads no target."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.core import Metric

_LARGE = 1 << 16  # bytes above which compression runs in a thread; for fewer, the thread costs more


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class Exposition:
    """The pages made of one list of families: each format and encoding is made once for all requests.

    Args:
        families: what the pages show.
    """

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)
        self._pages: dict[tuple[str, bool], asyncio.Future[bytes]] = {}

    async def response(self, request: web.Request) -> web.Response:
        """Answer a request; `?name[]=` selects series by name. Raises what a value raises that is no number."""
        encoder, content_type = _encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        compressed = _takes_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
        headers = {hdrs.CONTENT_TYPE: content_type, hdrs.VARY: f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}"}
        if compressed:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        if names := request.query.getall("name[]", []):
            body = await self._encode(encoder, names, compressed=compressed)
            return web.Response(body=body, headers=headers)
        key = (content_type, compressed)
        page = self._pages.get(key)
        if page is None:
            page = self._pages[key] = asyncio.ensure_future(self._encode(encoder, [], compressed=compressed))
            page.add_done_callback(_retrieved)
        # shield: a client that leaves must not cancel the page for the others.
        return web.Response(body=await asyncio.shield(page), headers=headers)

    async def _encode(self, encoder: Callable[[Collector], bytes], names: list[str], *, compressed: bool) -> bytes:
        registry = CollectorRegistry(support_collectors_without_names=True)  # so that `name[]` finds the families, too
        registry.register(_Families(self._families))
        text = encoder(registry.restricted_registry(names) if names else registry)
        if not compressed:
            return text
        return await asyncio.to_thread(_compress, text) if len(text) > _LARGE else _compress(text)


async def respond(request: web.Request, families: Iterable[Metric]) -> web.Response:
    """Answer one request with these families."""
    return await Exposition(families).response(request)


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number, from a client that is not Prometheus
        return choose_encoder("")


def _retrieved(page: asyncio.Future[bytes]) -> None:
    if not page.cancelled():
        page.exception()  # every client may have left; asyncio would log an unretrieved exception


def _compress(text: bytes) -> bytes:
    return gzip.compress(text, 6, mtime=0)


def _takes_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        coding, _, quality = part.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
