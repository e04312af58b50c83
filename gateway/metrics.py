"""The gateway's metrics: one table, and the few words in which the rest of the gateway counts. No label is open-ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from gateway import __version__

HANDLERS = ("voip", "fcm")
STAGES = ("queue", "connect", "provider")
CODES = ("200", "400", "403", "413", "415", "429", "503")

_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000)
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)

# Why a push or a try failed. The provider's own words first, then the gateway's.
REASONS = {
    "voip": frozenset(
        "BadCollapseId BadDeviceToken BadExpirationDate BadMessageId BadPriority BadTopic DeviceTokenNotForTopic"
        " DuplicateHeaders IdleTimeout InvalidPushType MissingDeviceToken MissingTopic PayloadEmpty TopicDisallowed"
        " BadCertificate BadCertificateEnvironment ExpiredProviderToken Forbidden InvalidProviderToken"
        " MissingProviderToken BadPath MethodNotAllowed Unregistered ExpiredToken PayloadTooLarge"
        " TooManyProviderTokenUpdates TooManyRequests InternalServerError ServiceUnavailable Shutdown".split()
    ),
    "fcm": frozenset(
        "UNREGISTERED INVALID_ARGUMENT SENDER_ID_MISMATCH QUOTA_EXCEEDED UNAVAILABLE INTERNAL THIRD_PARTY_AUTH_ERROR"
        " UNAUTHENTICATED PERMISSION_DENIED NOT_FOUND RESOURCE_EXHAUSTED DEADLINE_EXCEEDED".split()
    ),
}
OWN_REASONS = frozenset(
    "credentials disabled queue_full deadline no_answer no_connection no_stream dns tls connect_timeout connect_refused"
    " connect_other connection_lost ping_timeout protocol_error stream_reset refused_stream".split()
)
OTHER = "other"

# name, help, labels; counters end in _total
_COUNTERS = {
    "voip_sent": ("push_voip_sent_total", "Pushes that APNs accepted.", ()),
    "voip_failed": (
        "push_voip_failed_total",
        "Calls to APNs tokens that were not sent, whatever the cause: the sum of push_failures_total. Dead tokens are not in it.",
        (),
    ),
    "fcm_sent": ("push_fcm_sent_total", "Pushes that FCM accepted.", ()),
    "fcm_failed": (
        "push_fcm_failed_total",
        "Pushes for FCM that were not sent, whatever the cause: the sum of push_failures_total. Dead tokens are not in it.",
        (),
    ),
    "failures": ("push_failures_total", "Pushes that were not sent, by cause.", ("handler", "reason")),
    "expired": ("push_expired_total", "Pushes dropped because they came to be too late. Also failures.", ("handler",)),
    "unregistered": (
        "push_unregistered_total",
        "Pushes whose token the provider has given up (APNs 410, FCM UNREGISTERED). Not failures.",
        ("handler",),
    ),
    "retries": ("push_retries_total", "Further tries, by why the one before failed.", ("handler", "reason")),
    "connects": ("push_connections_total", "Connections made to the provider.", ("handler",)),
    "connect_failures": (
        "push_connection_failures_total",
        "Connections to the provider that could not be made, by cause.",
        ("handler", "reason"),
    ),
    "renewals": ("push_token_renewals_total", "Access tokens obtained, or not.", ("handler", "result")),
    "requests": ("push_requests_total", "Answers to POST /push, by status code.", ("code",)),
}
_HISTOGRAMS = {
    "latency": ("push_latency_ms", "Milliseconds from the request to the provider's answer.", ("handler",), _MS),
    "stage": (
        "push_stage_seconds",
        "Seconds of one try: queue (waiting for its turn), connect (for a connection and a free stream), provider (for the answer).",
        ("handler", "stage"),
        _SECONDS,
    ),
}
_STATUS = {
    "state": ("push_provider_state", "1 if a push that arrives now can be sent at once, else 0."),
    "credentials": ("push_credentials_valid", "1 with a valid access token from a key file that is in order, else 0."),
    "connection_age": ("push_connection_age_seconds", "Age of the connection to the provider."),
    "token_age": ("push_token_age_seconds", "Age of the access token."),
}


@dataclass(frozen=True)
class Status:
    """What a handler's gauges (`_STATUS`) say at the moment of a scrape; ages in seconds, None where there is nothing."""

    state: float
    credentials: float
    connection_age: float | None
    token_age: float | None


class Metrics:
    """The gateway's registry. The series of both handlers exist from the start, so that a rate has a first value."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.started = time.time()
        self._counters = {
            key: Counter(name, text, labels, registry=self.registry) for key, (name, text, labels) in _COUNTERS.items()
        }
        self._histograms = {
            key: Histogram(name, text, labels, buckets=buckets, registry=self.registry)
            for key, (name, text, labels, buckets) in _HISTOGRAMS.items()
        }
        self._inflight = Gauge("push_inflight", "Pushes being worked on.", ("handler",), registry=self.registry)
        self._breaker = Gauge(
            "push_breaker_open",
            "1 while only one try at a time asks whether the provider is back.",
            ("handler",),
            registry=self.registry,
        )
        self._codes = {code: self._counters["requests"].labels(code) for code in (*CODES, OTHER)}
        self.handlers = {name: HandlerMetrics(self, name) for name in HANDLERS}
        self.status: dict[str, Callable[[], Status]] = {}
        self.registry.register(_AtScrape(self))

    def request(self, code: int) -> None:
        """Count an answer to POST /push."""
        self._codes.get(str(code), self._codes[OTHER]).inc()

    def counter(self, key: str, *labels: str) -> Any:  # noqa: ANN401 - the library types a child as its family
        """The child of a counter of the table."""
        return self._counters[key].labels(*labels) if labels else self._counters[key]

    def children(self, name: str) -> dict[str, Any]:
        """The children that `HandlerMetrics` keeps at hand, because looking them up takes as long as counting."""
        return {
            "latency": self._histograms["latency"].labels(name),
            "inflight": self._inflight.labels(name),
            "breaker": self._breaker.labels(name),
            **{stage: self._histograms["stage"].labels(name, stage) for stage in STAGES},
        }


class HandlerMetrics:
    """What one handler counts."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._reasons = REASONS[name] | OWN_REASONS
        children = metrics.children(name)
        self.inflight = children["inflight"]
        self._latency = children["latency"]
        self._breaker = children["breaker"]
        self._stages = {stage: children[stage] for stage in STAGES}
        self._sent = metrics.counter(f"{name}_sent")
        self._failed = metrics.counter(f"{name}_failed")
        self._expired = metrics.counter("expired", name)
        self._unregistered = metrics.counter("unregistered", name)
        self._connects = metrics.counter("connects", name)
        for result in ("ok", "failed"):
            metrics.counter("renewals", name, result)

    def count(self, outcome: str, reason: str) -> None:
        """Count a push's outcome, one of `delivery.Outcome`."""
        if outcome == "sent":
            self._sent.inc()
        elif outcome == "unregistered":
            self._unregistered.inc()
        else:
            self._failed.inc()
            self._metrics.counter("failures", self._name, self._bounded(reason)).inc()
            if outcome == "expired":
                self._expired.inc()

    def retry(self, reason: str) -> None:
        """Count a further try."""
        self._metrics.counter("retries", self._name, self._bounded(reason)).inc()

    def answered(self, latency: float) -> None:
        """Observe the seconds from a request to the provider's final answer."""
        self._latency.observe(1000 * latency)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Observe one of STAGES."""
        self._stages[stage].observe(seconds)

    def breaker(self, is_open: bool) -> None:  # noqa: FBT001 - a gauge's value
        """The breaker moved."""
        self._breaker.set(is_open)

    def connected(self) -> None:
        """A connection to the provider was made."""
        self._connects.inc()

    def connect_failed(self, reason: str) -> None:
        """None could be made."""
        self._metrics.counter("connect_failures", self._name, self._bounded(reason)).inc()

    def renewed(self, result: str) -> None:
        """An access token was asked for; result: ok or failed."""
        self._metrics.counter("renewals", self._name, result).inc()

    def _bounded(self, reason: str) -> str:
        return reason if reason in self._reasons else OTHER


class _AtScrape:
    """The gauges that are read when somebody asks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Uptime, memory, and every handler's status."""
        now = time.time()
        yield _gauge("push_gateway_uptime_seconds", "Seconds since the gateway started.", now - self._metrics.started)
        yield _gauge("push_gateway_memory_bytes", "Resident memory of the gateway.", _resident())
        info = GaugeMetricFamily("push_gateway_build_info", "1, with the gateway's version.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        for key, (name, text) in _STATUS.items():
            family = GaugeMetricFamily(name, text, labels=["handler"])
            for handler, status in self._metrics.status.items():
                value = getattr(status(), key)
                if value is not None:
                    family.add_metric([handler], value)
            yield family


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _resident() -> float:
    """This process' resident bytes (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
