"""The pages with the gateway's state: /health, /metrics, /-/healthy, /-/ready. They change nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.collector import collect
from gateway.intake import MAX_BODY
from toolkit import __version__
from toolkit.exposition import respond

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.handler import Handler
    from gateway.intake import Intake
    from gateway.metrics import Metrics
    from toolkit.reload import Reload


class Pages:
    """The gateway's pages.

    Args:
        handlers: by name; one that does not run is missing.
        metrics: the gateway's.
        intake: takes the pushes in.
        reload: what SIGHUP does.
    """

    def __init__(self, handlers: Mapping[str, Handler], metrics: Metrics, intake: Intake, reload: Reload) -> None:
        self._handlers = handlers
        self._metrics = metrics
        self._intake = intake
        self._reload = reload

    def for_callers(self) -> web.Application:
        """Return everything, /push included; for this host only."""
        app = self.for_prometheus()
        app.add_routes(
            [
                web.post("/push", self._intake.push),
                web.get("/-/healthy", self._healthy),
                web.get("/-/ready", self._ready),
            ]
        )
        return app

    def for_prometheus(self) -> web.Application:
        """Return what another host may read."""
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes([web.get("/health", self._health), web.get("/metrics", self._show_metrics)])
        return app

    async def _health(self, _: web.Request) -> web.Response:
        def said(name: str, word: str) -> str:
            handler = self._handlers.get(name)
            return "disabled" if handler is None else word if handler.works else "unavailable"

        return web.json_response(
            {
                "status": "draining" if self._intake.draining else "ok",
                "uptime": int(time.monotonic() - self._metrics.started),
                "apns": said("voip", "connected"),
                "fcm": said("fcm", "initialized"),
                "version": __version__,
            }
        )

    async def _show_metrics(self, request: web.Request) -> web.Response:
        status = {name: handler.status() for name, handler in self._handlers.items()}
        families = [*collect(self._metrics, status), *self._reload.families("push_gateway")]
        return await respond(request, families)

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _ready(self, _: web.Request) -> web.Response:
        if self._intake.draining:
            return web.Response(status=503, text="shutting down\n")
        if not any(handler.ready for handler in self._handlers.values()):
            return web.Response(status=503, text="no provider can be reached\n")
        return web.Response(text="ready\n")
