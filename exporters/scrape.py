"""A scrape of one target: one shared read, a deadline, and the metrics about the scrape itself. No HTTP here, no protocol either."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from aiohttp import web
from prometheus_client.core import Metric

Snapshot = TypeVar("Snapshot")


class TargetError(Exception):
    """The target could not be read.

    Args:
        reason: one of the exporter's `reasons`; becomes a label value, so the set is bounded.
        message: one line for the log: what failed, on what, and what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Exporter(Generic[Snapshot]):
    """What a target's package hands to the shared web server.

    Args:
        name: the target's word, prefix of `<name>_up` and `<name>_exporter_*`, e.g. "prosody".
        title: for the landing page, e.g. "Prosody exporter".
        read: reads the target once; raises TargetError. The only place with I/O during a scrape.
        collect: snapshot to families, pure. Called with None when the read failed: then only what holds without the target.
        reasons: every reason a TargetError may carry ("timeout" is added by the scrape), so that each series exists from the start.
        up_help: HELP of `<name>_up`; None for an exporter without one single target (certificates).
        background: entered when the server starts, left when it stops (probes, log followers, ...).
        routes: further pages, e.g. /probe.
    """

    name: str
    title: str
    read: Callable[[], Awaitable[Snapshot]]
    collect: Callable[[Snapshot | None], Iterable[Metric]]
    reasons: tuple[str, ...]
    up_help: str | None
    background: Callable[[], AbstractAsyncContextManager[object]] = nullcontext
    routes: tuple[web.RouteDef, ...] = field(default=())
