"""Queries Prometheus' HTTP API and returns its answers as typed values; it judges nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from check.client import CannotAskError

if TYPE_CHECKING:
    from collections.abc import Callable

    from check.client import HttpClient

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Sample:
    """One series of a query's answer: its labels and its current value."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class ActiveTarget:
    """One that is scraped. `health` is up, down or unknown; `seconds` is how long its last scrape took."""

    job: str
    instance: str
    health: str
    error: str
    url: str
    seconds: float


@dataclass(frozen=True)
class Rule:
    """One that is loaded. `health` is ok, err or unknown; `state` is an alert's: firing, pending or inactive."""

    name: str
    alerting: bool
    health: str
    error: str = ""
    state: str = ""
    labels: tuple[tuple[str, str], ...] = ()


class PrometheusApi:
    """One Prometheus.

    Args:
        client: where its pages are. Every question raises CannotAskError if it gets no answer that can be used.
    """

    def __init__(self, client: HttpClient) -> None:
        self.client = client

    def query(self, expression: str) -> list[Sample]:
        """Evaluate a PromQL expression now; return its samples."""
        return self._ask("query", _samples, query=expression)

    def targets(self) -> list[ActiveTarget]:
        """Return every target it scrapes."""
        return self._ask("targets", _targets, state="active")

    def rules(self) -> list[Rule]:
        """Return every rule it has loaded."""
        return self._ask("rules", _rules)

    def alertmanagers(self) -> list[str]:
        """Return the addresses it sends alerts to."""
        return self._ask("alertmanagers", _alertmanagers)

    def retention(self) -> str:
        """Return how long it keeps data, as it says it: `15d`, or `90d or 50GiB`; "" if it does not say."""
        try:
            return self._ask("status/runtimeinfo", lambda data: str(data["storageRetention"]))
        except CannotAskError:  # VictoriaMetrics has no such page
            return ""

    def _ask(self, path: str, read: Callable[[Any], _Answer], **parameters: str) -> _Answer:
        answer = self.client.ask(f"api/v1/{path}", **parameters)
        try:
            return read(answer["data"])
        except (LookupError, TypeError, ValueError, AttributeError):
            raise CannotAskError(
                f"{self.client.url}: what it answers on api/v1/{path} is not Prometheus' answer"
            ) from None


def _samples(data: dict[str, Any]) -> list[Sample]:
    return [Sample(dict(series["metric"]), float(series["value"][1])) for series in data["result"]]


def _targets(data: dict[str, Any]) -> list[ActiveTarget]:
    return [
        ActiveTarget(
            job=target["labels"]["job"],
            instance=target["labels"]["instance"],
            health=target["health"],
            error=target["lastError"],
            url=target["scrapeUrl"],
            seconds=float(target["lastScrapeDuration"]),
        )
        for target in data["activeTargets"]
    ]


def _rules(data: dict[str, Any]) -> list[Rule]:
    return [
        Rule(
            name=rule["name"],
            alerting=rule["type"] == "alerting",
            health=rule["health"],
            error=rule.get("lastError", ""),
            state=rule.get("state", ""),
            labels=tuple(sorted(rule.get("labels", {}).items())),
        )
        for group in data["groups"]
        for rule in group["rules"]
    ]


def _alertmanagers(data: dict[str, Any]) -> list[str]:
    return [str(each["url"]) for each in data["activeAlertmanagers"]]
