"""The web server of every program: its listeners, signals, an exporter's pages. It knows no target.

An exporter's `__main__` calls `run`. A program with pages of its own builds its applications, says where each listens
(`Listener`), serves them (`serving`) and waits for signals (`until_signal`).
"""

from __future__ import annotations

import asyncio
import html
import logging
import signal
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from toolkit import __version__, logs
from toolkit.connections import Connections, shares
from toolkit.documents import ConfigError
from toolkit.exposition import Exposition, respond
from toolkit.reload import Reload
from toolkit.scrape import FILES, Exporter, Reading, Scrape, deadline
from toolkit.values import Address
from toolkit.webconfig import WebConfig

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from aiohttp.typedefs import Handler

_log = logging.getLogger(__name__)
# aiohttp waits this long twice: for the requests under way, then for the connections. Together under one second.
_GRACE = 0.4
_SHUTDOWN = 0.95  # seconds for everything, including the end of the background work


def _not_the_clients_fault(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError | ConnectionError))


# aiohttp logs a traceback even for a request that is not HTTP, and for a client that leaves during its answer: any
# client of the port could fill the log.
_requests = logging.getLogger(f"{__name__}.requests")
_requests.addFilter(_not_the_clients_fault)


class ListenError(OSError):
    """The program cannot listen on an address; the text is one line for the operator."""


@dataclass(frozen=True)
class Listener:
    """One application and where it listens.

    Args:
        application: with its routes; it is served as long as the listener is.
        addresses: at least one.
        config: TLS, users and headers, of `--web.config.file`; none of them by default.
        setting: what an operator changes if an address is not available, e.g. "--web.listen-address".
        grace: seconds that requests under way may take when the program ends.
        connections: the most at once; fewer if the process may not open that many files.
        options: further arguments of aiohttp's AppRunner, e.g. {"auto_decompress": False}.
    """

    application: web.Application
    addresses: Sequence[Address]
    config: WebConfig
    setting: str = "--web.listen-address"
    grace: float = _GRACE
    connections: int = 256
    options: Mapping[str, Any] = field(default_factory=dict)


def application(exporter: Exporter[Any], reload: Reload | None = None) -> web.Application:
    """Make the web application of one exporter; its background runs from the application's start to its end.

    Args:
        exporter: what to serve.
        reload: what SIGHUP does, for the metrics about it.
    """
    scrape = Scrape(exporter, __version__, reload)
    # Scrapes that overlap share their reading and therefore the page.
    made: WeakKeyDictionary[Reading[Any], Exposition] = WeakKeyDictionary()

    async def metrics(request: web.Request) -> web.StreamResponse:
        reading = await scrape.read(deadline(request.headers.get("X-Prometheus-Scrape-Timeout-Seconds")))
        try:
            pages = made.get(reading)
            if pages is None:
                pages = made[reading] = Exposition(scrape.families(reading))
            response = await pages.response(request)
        except Exception:  # noqa: BLE001 - a bug of ours must show as <name>_up 0, not as an error page
            return await respond(request, scrape.about(scrape.unusable(reading)))
        scrape.used(reading)
        return response

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

    app = web.Application()
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
    return app


@asynccontextmanager
async def serving(*listeners: Listener, files: int = FILES) -> AsyncIterator[tuple[str, ...]]:
    """Serve these listeners inside the context; requests under way at its end may finish within their listener's grace.

    Args:
        listeners: what to serve.
        files: open files that the program needs beside the connections of its listeners.

    Yields the URLs they really listen on, in the order of the listeners and their addresses. Raises ListenError.
    """
    sockets = _listen(listeners)
    served: list[_Served] = []
    try:
        for number, (listener, own) in enumerate(zip(listeners, sockets, strict=True)):
            served.append(_Served(listener, own, partial(_share, listeners, number, files)))
            await served[-1].start()
        yield tuple(url for one in served for url in one.urls)
    finally:
        for one in served:
            one.close()
        for opened in (each for own in sockets for each in own):
            opened.close()  # of listeners that were never served
        longest = max(listener.grace for listener in listeners) - _GRACE
        try:
            async with asyncio.timeout(_SHUTDOWN + 2 * longest):
                await asyncio.gather(*(one.stop() for one in served))
        except TimeoutError:
            _log.warning("stopped before everything had ended: the background work took too long")


def _share(listeners: Sequence[Listener], number: int, files: int) -> int:
    return shares([listener.connections for listener in listeners], files)[number]


class _Served:
    """One listener being served."""

    def __init__(self, listener: Listener, sockets: Sequence[socket.socket], most: Callable[[], int]) -> None:
        self._sockets = sockets
        scheme = "https" if listener.config.ssl_context else "http"
        self.urls = [f"{scheme}://{Address(*listener.getsockname()[:2])}" for listener in sockets]
        self._connections = Connections(self.urls[0], self._protocol, lambda: listener.config.ssl_context, most)

        @web.middleware
        async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
            users = listener.config.users  # as a reload may have changed them
            return await (users.middleware(request, handler) if users else handler(request))

        listener.application.middlewares[:0] = [self._connections.middleware, admitted]

        async def secure_headers(_: web.Request, response: web.StreamResponse) -> None:
            response.headers.update(listener.config.headers)

        listener.application.on_response_prepare.append(secure_headers)
        options: dict[str, Any] = {"access_log": None, "logger": _requests, **listener.options}
        self._runner = web.AppRunner(listener.application, shutdown_timeout=listener.grace, **options)

    async def start(self) -> None:
        await self._runner.setup()
        for listener in self._sockets:
            self._connections.listen(listener)

    def close(self) -> None:
        self._connections.close()

    async def stop(self) -> None:
        await self._connections.closed()
        await self._runner.cleanup()

    def _protocol(self) -> asyncio.Protocol:
        assert self._runner.server is not None, "it accepts connections after its start only"
        return self._runner.server()


def run(exporter: Exporter[Any], args: argparse.Namespace) -> int:
    """Serve an exporter until SIGTERM or SIGINT.

    Args:
        exporter: what to serve.
        args: parsed by `toolkit.cli.parser`.

    Returns the process' exit code: 0 after a signal, 1 if it cannot listen, 2 if the web configuration is wrong.
    """
    logs.setup(args.log_level, args.log_format)
    try:
        config = WebConfig(args.web_config)
    except ConfigError as error:
        _log.error("%s", error)
        return 2
    parts = [part for part in (exporter.reload, config.reload if args.web_config else None) if part]
    reload = Reload(*parts)
    # When Prometheus has given up a scrape, the rest of it is useless.
    options = {"handler_cancellation": True}
    listener = Listener(application(exporter, reload), args.listen_addresses, config, options=options)
    return until_signal(lambda: serving(listener, files=exporter.files), reload)


def until_signal(serve: Callable[[], AbstractAsyncContextManager[Sequence[str]]], reload: Callable[[], None]) -> int:
    """Run a program until SIGTERM or SIGINT.

    Args:
        serve: makes the context in which the program serves; it gives the URLs, as `serving` does.
        reload: called on SIGHUP, in the event loop.

    Returns the process' exit code: 0 after a signal, 1 if it cannot listen.
    """
    try:
        asyncio.run(_until_signal(serve, reload))
    except ListenError as error:
        _log.error("%s", error)
        return 1
    return 0


async def _until_signal(
    serve: Callable[[], AbstractAsyncContextManager[Sequence[str]]], reload: Callable[[], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    async with serve() as urls:
        for url in urls:
            _log.info("listening", extra={"url": url, "version": __version__})
        await stop.wait()
        _log.info("stopping")


def _listen(listeners: Sequence[Listener]) -> list[list[socket.socket]]:
    sockets: list[list[socket.socket]] = []
    try:
        for listener in listeners:
            sockets.append([])
            for address in listener.addresses:
                try:
                    sockets[-1].append(_socket(address))
                except OSError as error:
                    cause = str(error.strerror).partition(" (while")[0]  # which repeats the address
                    raise ListenError(
                        f"cannot listen on {address}: {cause}; free it, or choose another {listener.setting}"
                    ) from error
    except ListenError:
        for opened in (each for own in sockets for each in own):
            opened.close()
        raise
    return sockets


def _socket(address: Address) -> socket.socket:
    # Bound here, because asyncio would choose different ports for IPv4 and IPv6 for port 0 on every interface.
    if not address.host and socket.has_dualstack_ipv6():
        return socket.create_server(("", address.port), family=socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family)


def _landing_page(exporter: Exporter[Any]) -> str:
    title = html.escape(exporter.title)
    pages = ["/metrics", "/-/healthy", "/-/ready", *(route.path for route in exporter.routes)]
    links = "".join(f'<li><a href="{html.escape(page)}">{html.escape(page)}</a></li>\n' for page in pages)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body>\n<h1>{title}</h1>\n<p>Version {html.escape(__version__)}</p>\n<ul>\n{links}</ul>\n</body>\n</html>\n"
    )
