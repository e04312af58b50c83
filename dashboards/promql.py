"""The PromQL that panels share: which nodes answer, rates, buckets; each with the node variable."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from alerts.panels import PANELS
from alerts.promises import AT_TIMES
from alerts.recording import RECORDINGS

if TYPE_CHECKING:
    from alerts.thresholds import Threshold


@dataclass(frozen=True)
class Service:
    """The nodes of one job, and how Prometheus knows that a node answers.

    Args:
        job: of its targets.
        answers: a metric with one series per node that is 1 while the node answers. `up` if the target is the service
            itself: then only Prometheus can say that it does not answer.
        word: the verdict on numbers of the service while one of its nodes does not answer.
        variable: the page's variable that chooses nodes; None for all nodes, whatever is chosen.
    """

    job: str
    answers: str
    word: str = "NODE DOWN"
    variable: str | None = "node"

    @property
    def answering(self) -> str:
        """A series of 1 for each node that answers."""
        return f"{self.scraped if self.answers == 'up' else self._answers} == 1"

    @property
    def _answers(self) -> str:
        return f'{self.answers}{{instance=~"${self.variable}"}}' if self.variable else self.answers

    @property
    def scraped(self) -> str:
        """Whether Prometheus can scrape each node; the one series that is there whatever happens to a node."""
        chosen = f',instance=~"${self.variable}"' if self.variable else ""
        return f'up{{job="{self.job}"{chosen}}}'

    @property
    def state(self) -> str:
        """1 or 0 for each node that Prometheus scrapes: 0 too if its exporter is gone."""
        if self.answers == "up":
            return f"max by (instance) ({self.scraped})"
        return f"max by (instance) ({self._answers}) or 0 * max by (instance) ({self.scraped})"

    def unanswered(self) -> str:
        """Return how many nodes do not answer (those whose exporter is gone included)."""
        answering = self.scraped if self.answers == "up" else self._answers
        return f"count({self.scraped}) - (sum({answering}) or vector(0))"

    def unanswering(self) -> str:
        """Return a series for each node that does not answer."""
        return f"({self.state}) == 0"


@dataclass(frozen=True)
class PingedNodes(Service):
    """The nodes of a job on which the exporter has a connection of its own, and pings on it.

    Args:
        answered: PromQL for how many pings of each node were answered of late; 0 while none is.
    """

    word: str = "NO PING"
    answered: str = field(kw_only=True)

    def unanswered(self) -> str:
        """Return how many nodes answer no ping (those that do not answer at all included)."""
        return (
            f"count({self.scraped}) - (count({self.answering} unless on (instance) {self.answered} == 0) or vector(0))"
        )


@dataclass(frozen=True)
class Services:
    """What a number needs together, such as Prosody, which counts it, and the gateway, which makes it happen."""

    services: tuple[Service, ...]
    word: str = "NODE DOWN"

    def unanswered(self) -> str:
        """Return how many of their nodes do not answer; a service without any target counts as one node."""
        each = " + ".join(f"({service.unanswered()} or vector(1))" for service in self.services)
        return f"{each} and on () ({' or '.join(service.scraped for service in self.services)})"


@dataclass(frozen=True)
class ProbedEndpoints:
    """What exporters probe from outside, and how Prometheus knows that a probe succeeded.

    Args:
        job: of the exporters.
        succeeds: a metric with one series per endpoint that is 1 if its last probe succeeded.
        word: the verdict on numbers of the endpoints while one of them cannot be probed.
    """

    job: str
    succeeds: str
    word: str = "PROBE FAILED"

    def unanswered(self) -> str:
        """Return how many endpoints could not be probed; an exporter that is gone counts as one."""
        return f'sum(1 - {self.succeeds}{{instance=~"$exporter"}} or 1 - up{{job="{self.job}",instance=~"$exporter"}})'


PROSODY = Service("prosody", "prosody_up")
GATEWAY = Service("push-gateway", "push_gateway_up")
POSTGRESQL = Service("postgresql", "pg_up")
COTURN = Service("coturn", "coturn_up")
HAPROXY = Service("haproxy", "up")
HOSTS = Service("node", "up")
CERTIFICATES = ProbedEndpoints("certificates", "ssl_certificate_probe_success")
# Events of the promises, which are of the whole service: a gateway that hangs counts no call as bad.
PROMISES = Services((Service("synthetic", "up", variable=None), replace(GATEWAY, variable=None)), "NOT MEASURED")


def judged(number: str, threshold: Threshold, counted: str) -> str:
    """Return what an alert with a minimum watches; NaN where it is above the limit and the alert says nothing of it.

    One mistyped password at night is 100 % of all logins. Nobody is woken for it, so it must have no colour.

    Args:
        number: PromQL for what the alert compares with its threshold.
        threshold: of the alert.
        counted: PromQL for what must reach the minimum, with the labels of `number`.
    """
    fine = f"({number}) <= {threshold.value:g}"
    return f"({number}) and ({fine} or {counted} >= {threshold.minimum:g}) or NaN * ({number})"


# The services by the first word of their metrics.
_SERVICES: dict[str, Service | None] = {
    "prosody": PROSODY,
    "push": GATEWAY,
    "pg": POSTGRESQL,
    "coturn": COTURN,
    "haproxy": HAPROXY,
    "node": HOSTS,
    "synthetic": None,  # its nodes are in a variable of their own
}
_RECORDED_OF_WINDOW = re.compile(r"instance\w*:([a-z]+)_\w+:(?:ratio|mean|p\d+|increase)\b")


def answered(expr: str) -> str:
    """Return PromQL for the same, without nodes that do not answer.

    A share, a quantile or an increase of the last minutes is still recorded minutes after its node has ended.
    """
    recorded = _RECORDED_OF_WINDOW.search(expr)
    service = _SERVICES[recorded[1]] if recorded else None
    return f"({expr}) and on (instance) {service.answering}" if service else expr


_SPARSE = frozenset((*AT_TIMES, *(each.record for each in (*RECORDINGS, *PANELS) if each.expr.endswith("> 0"))))


def is_there_at_times(expr: str) -> bool:
    """Return whether a line is there only while it is above 0: a mean of those moments would be too high."""
    return expr.endswith("> 0") or any(name in _SPARSE for name in re.findall(r"[\w:]+", expr))


def labelled(expr: str, label: str, value: str) -> str:
    """Return the same with a label more."""
    return f'label_replace({expr}, "{label}", "{value}", "", "")'


def rate(metric: str, *, where: str = "") -> str:
    """Return the rate of each series of a counter; `where` holds further matchers, such as `code="5xx"`."""
    return f'rate({metric}{{{where + "," if where else ""}instance=~"$node"}}[$__rate_interval])'


def rates(counter: str, *labels: str, where: str = "") -> str:
    """Return the rate of a counter for each node, and for each value of these labels."""
    return f"sum by ({', '.join(('instance', *labels))}) ({rate(counter, where=where)})"


def buckets(histogram: str, *, where: str = "") -> str:
    """Return what a heatmap takes: the rate of each bucket, over the chosen nodes together."""
    return f"sum by (le) ({rate(f'{histogram}_bucket', where=where)})"
