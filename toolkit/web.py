"""The web server all exporters share: metrics, health and landing page over HTTP(S). It knows no target."""

from __future__ import annotations

import asyncio
import html
import logging
import signal
import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler
from prometheus_client.registry import Collector

from toolkit import __version__, logs
from toolkit.scrape import Exporter, Scrape, deadline
from toolkit.webconfig import WebConfig, WebConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Iterable, Sequence

    from prometheus_client.core import Metric

    from toolkit.cli import Address

_log = logging.getLogger(__name__)
# aiohttp waits this long twice: for the requests under way, then for the connections. Together under one second.
_GRACE = 0.4
_SHUTDOWN = 0.95  # seconds for everything, the background's end included


def _not_the_clients_fault(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


# aiohttp logs a traceback for a request that is not HTTP, too: whoever reaches the port could fill the log.
_requests = logging.getLogger(f"{__name__}.requests")
_requests.addFilter(_not_the_clients_fault)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def application(exporter: Exporter[Any], config: WebConfig) -> web.Application:
    """Make the web application of one exporter; its background runs from the application's start to its end."""
    scrape = Scrape(exporter, __version__)

    async def metrics(request: web.Request) -> web.StreamResponse:
        seconds = deadline(request.headers.get("X-Prometheus-Scrape-Timeout-Seconds"))
        return await scrape.answer(seconds, partial(render, request))

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text=f"{exporter.title} is healthy.\n")

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text=f"{exporter.title} is ready.\n")

    async def landing(_: web.Request) -> web.Response:
        return web.Response(text=_landing_page(exporter), content_type="text/html")

    async def background(_: web.Application) -> AsyncIterator[None]:
        async with exporter.background():
            yield
            await scrape.close()

    async def secure_headers(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(config.headers)

    app = web.Application(middlewares=[config.users.middleware] if config.users else [])
    app.add_routes(
        [
            web.get("/", landing),
            web.get("/metrics", metrics),
            web.get("/-/healthy", healthy),
            web.get("/-/ready", ready),
            *exporter.routes,
        ]
    )
    app.cleanup_ctx.append(background)
    app.on_response_prepare.append(secure_headers)
    return app


@asynccontextmanager
async def serving(
    exporter: Exporter[Any], addresses: Sequence[Address], config: WebConfig
) -> AsyncIterator[tuple[str, ...]]:
    """Serve an exporter inside the context; requests under way at its end may finish, within a second.

    Yields the URLs it really listens on. Raises OSError if an address cannot be had.
    """
    sockets = _listen(addresses)
    runner = web.AppRunner(application(exporter, config), access_log=None, logger=_requests, shutdown_timeout=_GRACE)
    try:
        await runner.setup()
        sites = [web.SockSite(runner, listener, ssl_context=config.ssl_context) for listener in sockets]
        for site in sites:
            await site.start()
        yield tuple(site.name for site in sites)
    finally:
        try:
            async with asyncio.timeout(_SHUTDOWN):
                await runner.cleanup()
        except TimeoutError:
            _log.warning("stopped before everything had ended: the exporter's background took too long")
        for listener in sockets:
            listener.close()


def run(exporter: Exporter[Any], args: argparse.Namespace) -> int:
    """Serve an exporter until SIGTERM or SIGINT.

    Args:
        exporter: what to serve.
        args: parsed by `toolkit.cli.parser`.

    Returns the process' exit code: 0 after a signal, 1 if it cannot listen, 2 if the web configuration is wrong.
    """
    logs.setup(args.log_level, args.log_format)
    try:
        config = WebConfig.load(args.web_config) if args.web_config else WebConfig()
        asyncio.run(_until_signal(exporter, args.listen_addresses, config))
    except WebConfigError as error:
        _log.error("%s", error)
        return 2
    except _ListenError as error:
        _log.error("%s", error)
        return 1
    return 0


async def _until_signal(exporter: Exporter[Any], addresses: Sequence[Address], config: WebConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(exporter, addresses, config) as urls:
        for url in urls:
            _log.info("listening", extra={"url": url, "version": __version__})
        await stop.wait()
        _log.info("stopping")


class _ListenError(OSError):
    """An address cannot be listened on; its text is one line for the operator."""


def _listen(addresses: Sequence[Address]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for address in addresses:
        try:
            sockets.append(_listener(address))
        except OSError as error:
            for opened in sockets:
                opened.close()
            shown = f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
            cause = str(error.strerror).partition(" (while")[0]  # which repeats the address
            raise _ListenError(
                f"cannot listen on {shown}: {cause}; free it, or choose another --web.listen-address"
            ) from error
    return sockets


def _listener(address: Address) -> socket.socket:
    # Bound here and not by asyncio, which would give port 0 on every interface a different port for IPv4 and IPv6.
    if not address.host and socket.has_dualstack_ipv6():
        return socket.create_server(("", address.port), family=socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family)


async def render(request: web.Request, families: Iterable[Metric]) -> web.StreamResponse:
    """Answer with these families, in the format and encoding that the request asks for."""
    registry = CollectorRegistry(support_collectors_without_names=True)  # so that `name[]` finds the families, too
    registry.register(_Families(families))
    return await make_aiohttp_handler(registry)(request)


def _landing_page(exporter: Exporter[Any]) -> str:
    title = html.escape(exporter.title)
    pages = ["/metrics", "/-/healthy", "/-/ready", *(route.path for route in exporter.routes)]
    links = "".join(f'<li><a href="{html.escape(page)}">{html.escape(page)}</a></li>\n' for page in pages)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body>\n<h1>{title}</h1>\n<p>Version {html.escape(__version__)}</p>\n<ul>\n{links}</ul>\n</body>\n</html>\n"
    )
