"""Puts the gateway together and runs it: two handlers, two listeners; SIGTERM drains, SIGHUP reads the keys again."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from gateway import apns, discretion, fcm
from gateway.app import Gateway
from gateway.channel import Channel, Endpoint
from gateway.delivery import Delivery
from gateway.http2 import Timing
from gateway.metrics import HandlerMetrics, Metrics
from gateway.provider import Dialect, Provider
from gateway.tokens import Attempt, Source, Token, mint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from gateway.settings import Address, Settings

FLUSH = 5.0  # seconds for the last answers to leave after the last push is done
RESTART = 1.0  # seconds until a part that ended by an error of its own starts anew

_log = logging.getLogger(__name__)


class ListenError(Exception):
    """One line: which address cannot be listened on, and why."""


@dataclass(frozen=True)
class Workings:
    """What tests set otherwise: how a token is obtained, what time it is, how patient a connection is."""

    mint: Callable[[Sequence[str]], Awaitable[Attempt]] = mint
    clock: Callable[[], float] = time.time
    timing: Timing = field(default_factory=Timing)
    connect_timeout: float = 5.0


def build(settings: Settings, metrics: Metrics, workings: Workings) -> dict[str, Delivery]:
    """The handlers that shall run, by name."""
    made = {}
    if "voip" in settings.handlers:
        a = settings.apns
        source = Source(a.key_path, ("apns", a.key_path, a.key_id, a.team_id), apns.TOKEN_YOUNGEST, a.missing)
        made["voip"] = _delivery(
            "voip", apns.Apns(a.server.host, a.bundle_id), source, a.server, metrics.handlers["voip"], workings
        )
    if "fcm" in settings.handlers:
        f = settings.fcm
        source = Source(f.account_path, ("fcm", f.account_path), fcm.TOKEN_YOUNGEST, f.missing)
        made["fcm"] = _delivery("fcm", fcm.Fcm(f.server.host), source, f.server, metrics.handlers["fcm"], workings)
    return made


def _delivery(  # noqa: PLR0913, PLR0917 - the six things a handler is made of
    name: str, dialect: Dialect, source: Source, server: Address, metrics: HandlerMetrics, workings: Workings
) -> Delivery:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    endpoint = Endpoint(server.host, server.port, workings.connect_timeout)
    token = Token(source, metrics.renewals, workings.mint, workings.clock)
    return Delivery(
        name, Provider(dialect, Channel(endpoint, context, metrics, workings.timing), token, metrics), metrics
    )


@contextlib.asynccontextmanager
async def serving(settings: Settings, workings: Workings) -> AsyncIterator[Gateway]:
    """The whole gateway, listening; at the end it drains.

    Raises:
        ListenError: an address is taken.
    """
    discretion.impose()
    metrics = Metrics()
    handlers = build(settings, metrics, workings)
    gateway = Gateway(settings.secret, settings.rate_limit, handlers, metrics)
    async with contextlib.AsyncExitStack() as stack:
        for address, push in ((settings.metrics_listen, False), (settings.listen, True)):
            runner = web.AppRunner(
                gateway.application(push=push), access_log=None, shutdown_timeout=FLUSH, auto_decompress=False
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            try:
                await web.TCPSite(runner, address.host or None, address.port).start()
            except OSError as error:
                raise ListenError(f"cannot listen on {address.host}:{address.port}: {error.strerror}") from None
            port = runner.addresses[0][1]
            gateway.ports.append(port)
            _log.info("listening", extra={"host": address.host or "*", "port": port})
        tasks = [
            asyncio.create_task(_forever(run))
            for delivery in handlers.values()
            for run in (delivery.provider.token.run, delivery.provider.channel.run)
        ]
        try:
            yield gateway
            await gateway.drain()
            await stack.aclose()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _forever(run: Callable[[], Awaitable[None]]) -> None:
    """Keep one part running, so that a defect in it cannot take the others down."""
    while True:
        try:
            await run()
        except Exception:  # noqa: BLE001 - a defect of ours, whatever it is
            _log.exception("unexpected error")
        await asyncio.sleep(RESTART)


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, and until then and drained.

    Raises:
        ListenError: an address is taken.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(settings, Workings()) as gateway:

        def reload() -> None:
            for delivery in gateway.deliveries.values():
                delivery.provider.token.reload()

        loop.add_signal_handler(signal.SIGHUP, reload)
        # What is here now stays: looking through it again for garbage would stop the loop for tens of milliseconds.
        gc.collect()
        gc.freeze()
        await stop.wait()
        _log.info("shutting down")
    _log.info("stopped")
