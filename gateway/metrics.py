"""What the gateway counts, as plain numbers: a push touches a dozen of them. Prometheus' names are `collector`'s."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HANDLERS = ("voip", "fcm")
STAGES = ("queue", "connect", "provider")
CODES = ("200", "400", "403", "408", "413", "415", "429", "503")
OTHER = "other"

MILLISECONDS = (5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000)
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)

CONNECT_REASONS = ("dns", "tls", "connect_timeout", "connect_refused", "connect_other")

# Why a push or a try failed: the provider's own words, then the gateway's. Whatever else is said becomes OTHER.
_OWN = """
    credentials disabled queue_full deadline no_answer no_connection no_stream
    connection_lost ping_timeout protocol_error stream_reset refused_stream
"""
_APNS = """
    BadDeviceToken DeviceTokenNotForTopic TopicDisallowed BadTopic MissingTopic InvalidPushType BadExpirationDate
    BadMessageId BadPath PayloadEmpty PayloadTooLarge Forbidden Unregistered ExpiredToken
    ExpiredProviderToken InvalidProviderToken MissingProviderToken TooManyProviderTokenUpdates
    TooManyRequests InternalServerError ServiceUnavailable Shutdown IdleTimeout
"""
_FCM = """
    UNREGISTERED INVALID_ARGUMENT SENDER_ID_MISMATCH THIRD_PARTY_AUTH_ERROR UNAUTHENTICATED PERMISSION_DENIED
    NOT_FOUND QUOTA_EXCEEDED RESOURCE_EXHAUSTED UNAVAILABLE INTERNAL DEADLINE_EXCEEDED
"""
REASONS = {
    "voip": (*_APNS.split(), *_OWN.split(), *CONNECT_REASONS, OTHER),
    "fcm": (*_FCM.split(), *_OWN.split(), *CONNECT_REASONS, OTHER),
}


class Histogram:
    """Observations by bucket.

    Args:
        bounds: upper bounds of the buckets, ascending; the one to infinity is added.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class HandlerMetrics:
    """One handler's numbers.

    Args:
        name: one of HANDLERS.
    """

    def __init__(self, name: str) -> None:
        self.sent = 0
        self.unregistered = 0
        self.expired = 0
        self.inflight = 0
        self.breaker_open = False
        self.connections = 0
        self.failures: Counter[str] = Counter(dict.fromkeys(REASONS[name], 0))
        self.retries: Counter[str] = Counter(dict.fromkeys(REASONS[name], 0))
        self.connection_failures: Counter[str] = Counter(dict.fromkeys(CONNECT_REASONS, 0))
        self.renewals: Counter[str] = Counter(ok=0, failed=0)
        self.latency = Histogram(MILLISECONDS)
        self.stages = {stage: Histogram(SECONDS) for stage in STAGES}

    def fail(self, reason: str) -> None:
        """Count a push that was not sent."""
        self.failures[reason if reason in self.failures else OTHER] += 1

    def retry(self, reason: str) -> None:
        """Count a further try, by why the one before failed."""
        self.retries[reason if reason in self.retries else OTHER] += 1


class Metrics:
    """The gateway's numbers. Both handlers have theirs from the start, so that a rate has a first value."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.requests: Counter[str] = Counter(dict.fromkeys(CODES, 0))
        self.handlers = {name: HandlerMetrics(name) for name in HANDLERS}
