"""Puts the gateway together and runs it: two handlers, two listeners; SIGTERM drains, SIGHUP reads the keys again."""

from __future__ import annotations

import contextlib
import gc
import logging
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway import apns, canary, fcm
from gateway.channel import Channel
from gateway.dial import Endpoint
from gateway.handler import QUEUE, Handler, Provider
from gateway.intake import Intake
from gateway.metrics import HandlerMetrics, Metrics
from gateway.pages import Pages
from gateway.timing import Timing
from gateway.tokens import Attempt, Source, Token, mint
from toolkit import web
from toolkit.background import running
from toolkit.reload import Reload
from toolkit.webconfig import WebConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from gateway.settings import Settings
    from toolkit.values import Address

FLUSH = 5.0  # seconds for the last answers to leave after the last push is done
CALLERS = 2 * QUEUE + 200  # connections of callers: each push that is worked on holds one
FILES = 100  # open files beside callers' connections: providers, their doubted connections, processes for tokens


@dataclass(frozen=True)
class Workings:
    """Settings that tests replace: how a token is obtained, the clock, and the patience of a connection."""

    mint: Callable[[Sequence[str]], Awaitable[Attempt]] = mint
    clock: Callable[[], float] = time.time
    timing: Timing = field(default_factory=Timing)
    connect_timeout: float = 5.0


@dataclass(frozen=True)
class Gateway:
    """A gateway that runs.

    Args:
        handlers: by name; one that does not run is missing.
        metrics: its numbers.
        intake: takes the pushes in.
        urls: where it listens: for Prometheus, and for callers.
    """

    handlers: dict[str, Handler]
    metrics: Metrics
    intake: Intake
    urls: Sequence[str]


def build(settings: Settings, metrics: Metrics, workings: Workings) -> dict[str, Handler]:
    """Return the handlers that are to run, by name."""
    made = {}
    if "voip" in settings.handlers:
        a = settings.apns
        source = Source(a.key_path, ("apns", a.key_path, a.key_id, a.team_id), apns.TOKEN_YOUNGEST, a.missing)
        provider = apns.Apns(a.server.host, a.bundle_id)
        made["voip"] = _handler("voip", provider, source, a.server, metrics.handlers["voip"], workings)
    if "fcm" in settings.handlers:
        f = settings.fcm
        source = Source(f.account_path, ("fcm", f.account_path), fcm.TOKEN_YOUNGEST, f.missing)
        made["fcm"] = _handler("fcm", fcm.Fcm(f.server.host), source, f.server, metrics.handlers["fcm"], workings)
    return made


def _handler(  # noqa: PLR0913, PLR0917 - the six things a handler is made of
    name: str, provider: Provider, source: Source, server: Address, metrics: HandlerMetrics, workings: Workings
) -> Handler:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    endpoint = Endpoint(server.host, server.port, workings.connect_timeout)
    token = Token(source, metrics.renewals, workings.mint, workings.clock)
    return Handler(name, provider, Channel(endpoint, context, metrics, workings.timing), token, metrics)


@contextlib.asynccontextmanager
async def serving(settings: Settings, config: WebConfig, reload: Reload, workings: Workings) -> AsyncIterator[Gateway]:
    """Run the whole gateway inside the context; at its end it drains.

    Args:
        settings: from the environment.
        config: TLS, users and headers of the listener for Prometheus.
        reload: what SIGHUP does, for its metrics.
        workings: settings that tests replace.

    Raises:
        ListenError: an address is taken.
    """
    # hpack logs every header field at level debug, access tokens and device tokens among them.
    logging.getLogger("hpack").setLevel(logging.INFO)
    metrics = Metrics()
    handlers = build(settings, metrics, workings)
    intake = Intake(settings.secret, settings.rate_limit, handlers, metrics)
    pages = Pages(handlers, metrics, intake, reload)
    for_prometheus = web.Listener(
        pages.for_prometheus(), [settings.metrics_listen], config, setting="METRICS_LISTEN_ADDRESS"
    )
    for_callers = web.Listener(
        pages.for_callers(),
        [settings.listen],
        WebConfig(),
        setting="HOST and PORT",
        grace=FLUSH,
        connections=CALLERS,
        options={"auto_decompress": False},
    )
    jobs = [run for handler in handlers.values() for run in (handler.token.run, handler.channel.run)]
    for name, token in settings.canaries.items():
        if name in handlers:
            one = canary.Canary(handlers[name], token, settings.canary_interval)
            jobs += [one.wake, one.dry_run] if name == "fcm" else [one.wake]
    # Connections to providers are opened first and closed last, so that accepted pushes are still delivered.
    async with running(*jobs), web.serving(for_prometheus, for_callers, files=FILES) as urls:
        yield Gateway(handlers, metrics, intake, urls)
        await intake.drain()


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT, and until everything accepted has its answer; returns the exit code.

    Raises:
        ConfigError: the file of METRICS_WEB_CONFIG_FILE is wrong.
    """
    config = WebConfig(settings.web_config)
    handlers: dict[str, Handler] = {}

    def read_keys() -> None:
        for handler in handlers.values():
            handler.reload()

    reload = Reload(read_keys, *((config.reload,) if settings.web_config else ()))

    @contextlib.asynccontextmanager
    async def program() -> AsyncIterator[Sequence[str]]:
        async with serving(settings, config, reload, Workings()) as gateway:
            handlers.update(gateway.handlers)
            # All objects made so far stay: a garbage collection of them would stop the loop for tens of milliseconds.
            gc.collect()
            gc.freeze()
            yield gateway.urls

    return web.until_signal(program, reload)
