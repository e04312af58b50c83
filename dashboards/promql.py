"""The PromQL that panels share: which nodes answer, rates, buckets; each with the node variable."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """The nodes of one job, and how Prometheus knows that a node answers.

    Args:
        job: of its targets.
        answers: a metric with one series per node that is 1 while the node answers. `up` if the target is the service
            itself: then only Prometheus can say that it does not answer.
        word: the verdict on numbers of the service while one of its nodes does not answer.
    """

    job: str
    answers: str
    word: str = "NODE DOWN"

    @property
    def answering(self) -> str:
        """A series of 1 for each node that answers."""
        return f"{self.scraped if self.answers == 'up' else self._answers} == 1"

    @property
    def _answers(self) -> str:
        return f'{self.answers}{{instance=~"$node"}}'

    @property
    def scraped(self) -> str:
        """Whether Prometheus can scrape each node; the one series that is there whatever happens to a node."""
        return f'up{{job="{self.job}",instance=~"$node"}}'

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
class ProbedEndpoints:
    """What an exporter probes from outside, and how Prometheus knows that a probe succeeded.

    Args:
        succeeds: a metric with one series per endpoint that is 1 if its last probe succeeded.
        word: the verdict on numbers of the endpoints while one of them cannot be probed.
        where: further matchers, each with a comma after it.
    """

    succeeds: str
    word: str = "PROBE FAILED"
    where: str = ""

    def unanswered(self) -> str:
        """Return how many endpoints could not be probed."""
        return f'sum(1 - {self.succeeds}{{{self.where}instance=~"$exporter"}})'


PROSODY = Service("prosody", "prosody_up")
GATEWAY = Service("push-gateway", "push_gateway_up")
POSTGRESQL = Service("postgresql", "pg_up")
COTURN = Service("coturn", "coturn_up")
HAPROXY = Service("haproxy", "up")
HOSTS = Service("node", "up")
CERTIFICATES = ProbedEndpoints("ssl_certificate_probe_success")
TEST_USERS = ProbedEndpoints("up", "NOT MEASURED", 'job="synthetic",')


def rate(metric: str, *, where: str = "") -> str:
    """Return the rate of each series of a counter; `where` holds further matchers, such as `code="5xx"`."""
    return f'rate({metric}{{{where + "," if where else ""}instance=~"$node"}}[$__rate_interval])'


def rates(counter: str, *labels: str, where: str = "") -> str:
    """Return the rate of a counter for each node, and for each value of these labels."""
    return f"sum by ({', '.join(('instance', *labels))}) ({rate(counter, where=where)})"


def buckets(histogram: str, *, where: str = "") -> str:
    """Return what a heatmap takes: the rate of each bucket, over the chosen nodes together."""
    return f"sum by (le) ({rate(f'{histogram}_bucket', where=where)})"
