"""Turns the gateway's numbers into metric families: the names, and what they mean. Counts nothing itself."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from toolkit import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.metrics import HandlerMetrics, Histogram, Metrics


@dataclass(frozen=True)
class Status:
    """What a handler is like now: 1 or 0, and ages in seconds, None where there is nothing."""

    ready: bool
    credentials: bool
    connection_age: float | None
    token_age: float | None


# name -> (help, attribute of HandlerMetrics); Prometheus adds _total
_BY_HANDLER = {
    "push_expired": ("Pushes dropped because they came to be too late. Also failures.", "expired"),
    "push_unregistered": (
        "Pushes to a token that its provider has given up (410, UNREGISTERED). Not failures.",
        "unregistered",
    ),
    "push_connections": ("Connections made to the provider.", "connections"),
}
_BY_WORD = {
    "push_failures": ("Pushes that were not sent, by cause.", "reason", "failures"),
    "push_retries": ("Further tries, by why the one before failed.", "reason", "retries"),
    "push_connection_failures": (
        "Connections to the provider that could not be made, by cause.",
        "reason",
        "connection_failures",
    ),
    "push_token_renewals": ("Access tokens asked for: ok or failed.", "result", "renewals"),
}
# name -> (help, attribute of Status)
_STATUS = {
    "push_provider_state": ("1 if a push that arrives now can be sent at once, else 0.", "ready"),
    "push_credentials_valid": ("1 with a valid access token from a key file that is in order, else 0.", "credentials"),
    "push_connection_age_seconds": ("Age of the connection to the provider.", "connection_age"),
    "push_token_age_seconds": ("Age of the access token.", "token_age"),
}


def collect(metrics: Metrics, status: Mapping[str, Status]) -> Iterable[Metric]:
    """All families.

    Args:
        metrics: the numbers.
        status: of the handlers that run, by name.
    """
    yield _gauge(
        "push_gateway_uptime_seconds", "Seconds since the gateway started.", time.monotonic() - metrics.started
    )
    yield _gauge("push_gateway_memory_bytes", "Resident memory of the gateway.", _resident())
    info = GaugeMetricFamily("push_gateway_build_info", "1, with the gateway's version.", labels=["version"])
    info.add_metric([__version__], 1)
    yield info
    yield _words("push_requests", "Answers to POST /push, by status code.", "code", metrics.requests)
    for name, handler in metrics.handlers.items():
        provider = {"voip": "APNs", "fcm": "FCM"}[name]
        yield CounterMetricFamily(f"push_{name}_sent", f"Pushes that {provider} accepted.", handler.sent)
        yield CounterMetricFamily(
            f"push_{name}_failed",
            f"Pushes for {provider} that were not sent, whatever the cause: the sum of push_failures_total.",
            handler.failures.total(),
        )
    yield from _handlers(metrics.handlers)
    for metric, (text, attribute) in _STATUS.items():
        family = GaugeMetricFamily(metric, text, labels=["handler"])
        for name, now in status.items():
            value = getattr(now, attribute)
            if value is not None:
                family.add_metric([name], value)
        yield family


def _handlers(handlers: Mapping[str, HandlerMetrics]) -> Iterable[Metric]:
    for metric, (text, attribute) in _BY_HANDLER.items():
        counter = CounterMetricFamily(metric, text, labels=["handler"])
        for name, handler in handlers.items():
            counter.add_metric([name], getattr(handler, attribute))
        yield counter
    for metric, (text, label, attribute) in _BY_WORD.items():
        counter = CounterMetricFamily(metric, text, labels=["handler", label])
        for name, handler in handlers.items():
            for word, count in getattr(handler, attribute).items():
                counter.add_metric([name, word], count)
        yield counter
    inflight = GaugeMetricFamily("push_inflight", "Pushes being worked on.", labels=["handler"])
    breaker = GaugeMetricFamily(
        "push_breaker_open", "1 while only single tries ask whether the provider is back, else 0.", labels=["handler"]
    )
    latency = HistogramMetricFamily(
        "push_latency_ms", "Milliseconds from the request to the provider's final answer.", labels=["handler"]
    )
    stages = HistogramMetricFamily(
        "push_stage_seconds",
        "Seconds of one try: queue (waiting for its turn), connect (for a free stream), provider (for the answer).",
        labels=["handler", "stage"],
    )
    for name, handler in handlers.items():
        inflight.add_metric([name], handler.inflight)
        breaker.add_metric([name], handler.breaker_open)
        _add(latency, [name], handler.latency)
        for stage, histogram in handler.stages.items():
            _add(stages, [name, stage], histogram)
    yield from (inflight, breaker, latency, stages)


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, itertools.accumulate(histogram.counts), strict=True)), histogram.sum)


def _words(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for word, count in counts.items():
        family.add_metric([word], count)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _resident() -> float:
    """This process' resident bytes (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
