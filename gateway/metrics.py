"""The gateway's counts as plain numbers, because a push changes a dozen of them. `families` has their metric names."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import answers
from gateway.push import Kind, Outcome
from toolkit.histogram import Histogram

if TYPE_CHECKING:
    from gateway.push import Result

HANDLERS = ("voip", "fcm")
STAGES = ("queue", "token", "connect", "provider")
CODES = ("200", "400", "403", "408", "413", "415", "429", "503")
OTHER = "other"

MILLISECONDS = (5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000)
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)

CONNECT_REASONS = ("dns", "tls", "no_http2", "connect_timeout", "connect_refused", "connect_other")

# Why a push or a try failed: the gateway's own words, beside those of `answers`. Any other word becomes OTHER.
_OWN = (
    *("credentials", "disabled", "queue_full", "deadline", "no_answer", "no_connection", "no_stream", "no_window"),
    *("closed", "connection_lost", "ping_timeout", "protocol_error", "stream_reset", "refused_stream"),
    *CONNECT_REASONS,
    OTHER,
)
REASONS = {"voip": (*answers.words(answers.APNS), *_OWN), "fcm": (*answers.words(answers.FCM), *_OWN)}


@dataclass(frozen=True)
class Status:
    """The state of a handler.

    Args:
        works: a push that arrives now can be sent, and the provider is not failing.
        credentials: there is a valid access token, from a key file that is in order.
        connection_age: seconds; None without a connection.
        token_age: seconds; None without a token.
        key_private: nobody but its owner may read the key file; None if there is no such file.
    """

    works: bool
    credentials: bool
    connection_age: float | None
    token_age: float | None
    key_private: bool | None


class HandlerMetrics:
    """One handler's numbers.

    Args:
        name: one of HANDLERS.
    """

    def __init__(self, name: str) -> None:
        self.sent = 0
        self.failed_calls = 0
        self.expired = 0
        self.inflight = 0
        self.connections = 0
        self.unregistered = _counter(REASONS[name][: -len(_OWN)])
        self.failures = _counter(REASONS[name])
        self.retries = _counter(REASONS[name])
        self.connection_failures = _counter(CONNECT_REASONS)
        self.canaries: Counter[str] = Counter()  # outcomes; empty without a canary
        self.renewals = _counter(("ok", "failed"))
        self.latency = Histogram(MILLISECONDS)
        self.stages = {stage: Histogram(SECONDS) for stage in STAGES}

    def count(self, kind: Kind, result: Result) -> None:
        """Count what became of a push of this kind."""
        if result.outcome is Outcome.SENT:
            self.sent += 1
        elif result.outcome is Outcome.UNREGISTERED:
            self.unregistered[result.reason] += 1
        else:
            self.failures[result.reason if result.reason in self.failures else OTHER] += 1
            self.failed_calls += kind is Kind.CALL
            self.expired += result.outcome is Outcome.EXPIRED

    def retry(self, reason: str) -> None:
        """Count a further try, by why the one before failed."""
        self.retries[reason if reason in self.retries else OTHER] += 1


class Metrics:
    """The gateway's numbers. Both handlers have theirs from the start, so that a rate has a first value."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.requests = _counter(CODES)
        self.handlers = {name: HandlerMetrics(name) for name in HANDLERS}


def _counter(words: tuple[str, ...]) -> Counter[str]:
    return Counter(dict.fromkeys(words, 0))
