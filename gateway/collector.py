"""Turns the gateway's numbers into metric families. It counts nothing itself."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.families import FAMILIES
from toolkit import __version__

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from gateway.metrics import HandlerMetrics, Metrics, Status


def collect(metrics: Metrics, status: Mapping[str, Status]) -> Iterator[Metric]:
    """Yield all families.

    Args:
        metrics: the numbers.
        status: of the handlers that run, by name.
    """
    fill, handlers = FAMILIES.fill, metrics.handlers
    yield fill("push_gateway_uptime_seconds", ((), time.monotonic() - metrics.started))
    yield fill("push_gateway_memory_bytes", ((), _resident()))
    yield fill("push_gateway_build_info", ((__version__,), 1))
    yield fill("push_requests_total", *(((code,), count) for code, count in metrics.requests.items()))
    for name, handler in handlers.items():
        yield fill(f"push_{name}_sent_total", ((), handler.sent))
        yield fill(f"push_{name}_failed_total", ((), handler.failures.total()))
    yield fill("push_failures_total", *_by_word({name: one.failures for name, one in handlers.items()}))
    yield fill("push_calls_failed_total", *(((name,), one.failed_calls) for name, one in handlers.items()))
    yield fill("push_expired_total", *(((name,), one.expired) for name, one in handlers.items()))
    yield fill("push_unregistered_total", *_by_word({name: one.unregistered for name, one in handlers.items()}))
    yield fill("push_retries_total", *_by_word({name: one.retries for name, one in handlers.items()}))
    yield fill("push_canary_total", *_by_word({name: one.canaries for name, one in handlers.items()}))
    yield fill("push_inflight", *(((name,), one.inflight) for name, one in handlers.items()))
    yield from _status(status)
    yield from _connections(handlers)
    latencies = (((name,), one.latency) for name, one in handlers.items())
    yield FAMILIES.fill_histograms("push_latency_ms", *latencies)
    stages = (((name, stage), seconds) for name, one in handlers.items() for stage, seconds in one.stages.items())
    yield FAMILIES.fill_histograms("push_stage_seconds", *stages)


def _status(status: Mapping[str, Status]) -> Iterator[Metric]:
    """Yield the gauges; a handler without a connection or a token has no age of it."""
    fill = FAMILIES.fill
    yield fill("push_provider_state", *(((name,), now.works) for name, now in status.items()))
    yield fill("push_credentials_valid", *(((name,), now.credentials) for name, now in status.items()))
    keys = {name: now.key_private for name, now in status.items()}
    yield fill("push_key_file_private", *(((name,), is_so) for name, is_so in keys.items() if is_so is not None))
    connections = {name: now.connection_age for name, now in status.items()}
    tokens = {name: now.token_age for name, now in status.items()}
    for family, ages in (("push_connection_age_seconds", connections), ("push_token_age_seconds", tokens)):
        yield fill(family, *(((name,), age) for name, age in ages.items() if age is not None))


def _connections(handlers: Mapping[str, HandlerMetrics]) -> Iterator[Metric]:
    fill = FAMILIES.fill
    yield fill("push_connections_total", *(((name,), one.connections) for name, one in handlers.items()))
    failures = {name: one.connection_failures for name, one in handlers.items()}
    yield fill("push_connection_failures_total", *_by_word(failures))
    yield fill("push_token_renewals_total", *_by_word({name: one.renewals for name, one in handlers.items()}))


def _by_word(counts: Mapping[str, Counter[str]]) -> list[tuple[tuple[str, ...], float]]:
    return [((name, word), count) for name, words in counts.items() for word, count in words.items()]


def _resident() -> float:
    """Return this process' resident bytes (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
