"""Keeps the books of our programs' metrics: counters never go down, no value is absurd, the sums agree. Pure.

It is fed everything Prometheus has of our jobs, every two seconds.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from check.prometheus import Sample

JOBS = ("prosody", "push-gateway", "coturn", "certificates")
_COUNTERS = ("_total", "_count", "_bucket", "_sum")
_SIGNED = {"ssl_certificate_expiry_days"}  # below zero once a certificate has expired
_BY_CLOCK = {"push_token_age_seconds"}  # what a token is by the clock it was made by
_MOST_BYTES = 1e12
_LATE = 6.0  # seconds a sample may be older than the answer it came in: two scrapes, and the way

Series = tuple[tuple[str, str], ...]


@dataclass
class Ledger:
    """What was said so far.

    Args:
        began: when the lab began, in seconds since the epoch: nothing in it is older.

    Attributes:
        wrong: what cannot be, in words, with how often it was seen.
        grown: by how much each counter rose in all, over restarts.
    """

    began: float
    wrong: Counter[str] = field(default_factory=Counter)
    grown: dict[Series, float] = field(default_factory=lambda: defaultdict(float))
    _last: dict[Series, tuple[float, float]] = field(default_factory=dict)

    def take(self, at: float, samples: Iterable[Sample], started: Mapping[str, Iterable[float]]) -> None:
        """Take in everything that is said at one moment.

        Args:
            at: when, in seconds since the epoch.
            samples: of all series of JOBS.
            started: when each server was started anew, by its name.
        """
        pushes: dict[str, Counter[str]] = {}
        for sample in samples:
            labels = dict(sample.labels)
            name = labels.pop("__name__")
            labels.pop("cluster", None)
            if ":" in name or not name.startswith(_OURS):
                continue  # recorded, or of the scrape
            self._check(name, labels, sample.value, at)
            if name.endswith(_COUNTERS):
                self._count(name, labels, sample.value, at, started)
            if (what := _account(name, labels)) is not None:
                pushes.setdefault(labels["instance"], Counter())[what] += int(sample.value)
        for node, sums in pushes.items():
            if sums["answered"] != sums["ended"]:
                self.wrong[f"{node}: {sums['answered']} pushes answered, {sums['ended']} counted"] += 1

    def total(self, name: str) -> int:
        """By how much a counter rose in all, over its series."""
        return round(sum(grown for series, grown in self.grown.items() if series[0] == ("", name)))

    def _check(self, name: str, labels: Mapping[str, str], value: float, at: float) -> None:
        absurd = None
        if math.isnan(value):
            absurd = "is NaN"
        elif value < 0 and name not in _SIGNED:
            absurd = "is negative"
        elif name.endswith("_bytes") and value > _MOST_BYTES:
            absurd = "is huge"
        elif _is_duration(name) and value > at - self.began:
            absurd = "is longer than the lab exists"
        if absurd:
            self.wrong[f"{name}{_written(labels)} {absurd}"] += 1

    def _count(
        self, name: str, labels: Mapping[str, str], value: float, at: float, started: Mapping[str, Iterable[float]]
    ) -> None:
        series = (("", name), *sorted(labels.items()))
        before, seen = self._last.get(series, (0.0, self.began))
        self._last[series] = value, at
        if value >= before:
            self.grown[series] += value - before
            return
        self.grown[series] += value
        reasons = _ORIGINS[labels["job"]]
        born = [time for reason in reasons for time in started.get(reason.format(labels["instance"]), ())]
        if not any(seen - _LATE <= time <= at for time in born):
            self.wrong[f"{name}{_written(labels)} went down"] += 1


_OURS = ("prosody_", "push_", "coturn_", "ssl_certificate_", "certificate_exporter_", "process_")
# Whose restart may set a counter back, by job; {} is the instance.
_ORIGINS = {
    "prosody": ("{}", "{}-exporter"),
    "push-gateway": ("{}-gateway",),
    "coturn": ("coturn", "coturn1-exporter"),
    "certificates": ("{}-exporter",),
}


def _is_duration(name: str) -> bool:
    return (
        name.endswith("_seconds")
        and "timestamp" not in name
        and not name.endswith("start_time_seconds")
        and name not in _BY_CLOCK
    )


def _account(name: str, labels: Mapping[str, str]) -> str | None:
    """Which side of the gateway's books a counter is on: every push it answered ended in one of three ways."""
    if name == "push_requests_total" and labels["code"] == "200":
        return "answered"
    ends = ("push_voip_sent_total", "push_voip_failed_total", "push_fcm_sent_total", "push_fcm_failed_total")
    return "ended" if name in (*ends, "push_unregistered_total") else None


def _written(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items() if name != "job") + "}"
