"""Queries Grafana's HTTP API for a dashboard, or for what a panel's query gives; it judges nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from check.client import CannotAskError, NotThereError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from check.client import HttpClient

SOURCE = {"type": "prometheus", "uid": "commeazy-prometheus"}  # prometheus/grafana/provisioning/datasources
_SINCE = "now-5m"
_MILLISECONDS = 15_000  # between the points of a graph
_RATE_INTERVAL = "2m"  # in place of Grafana's variable, where only it matters whether a query is valid


def question(expr: str, *, instant: bool) -> dict[str, Any]:
    """Return what is posted to Grafana's query API for one query: as of now, or of the last five minutes."""
    query = {
        "refId": "A",
        "datasource": SOURCE,
        "expr": expr,
        "instant": instant,
        "range": not instant,
        "intervalMs": _MILLISECONDS,
        "maxDataPoints": 100,
    }
    return {"queries": [query], "from": _SINCE, "to": "now"}


class GrafanaApi:
    """One Grafana.

    Args:
        client: where its pages are.
    """

    def __init__(self, client: HttpClient) -> None:
        self.client = client

    def provisioned(self, uid: str) -> bool | None:
        """Tell whether a dashboard was provisioned from a file; None if there is no such dashboard.

        Raises:
            CannotAskError: Grafana gives no answer that can be used.
        """
        try:
            answer = self.client.ask(f"api/dashboards/uid/{uid}")
        except NotThereError:
            return None
        try:
            return bool(answer["meta"]["provisioned"])
        except (LookupError, TypeError):
            raise CannotAskError(f"{self.client.url}: what it answers is not Grafana's answer") from None

    def nodes(self, job: str) -> list[str]:
        """Return the nodes of a job that are scraped. This and the next two are a `check.panels.Source`."""
        return sorted(labels["instance"] for labels, _ in self.instant(f'up{{job="{job}"}}'))

    def instant(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of every series that a query gives now; null is NaN."""
        return [(field.get("labels", {}), _number(values[-1])) for field, values in self._fields(expr, instant=True)]

    def graph(self, expr: str) -> list[float]:
        """Return all values of all series that a query gives for the last five minutes; null is NaN."""
        return [_number(value) for _, values in self._fields(expr, instant=False) for value in values]

    def _refuse(self, expr: str) -> None:
        """Raise RefusedError if Prometheus refuses this query; called when nothing came back.

        Some versions of Grafana answer a refused query as one that has no data (its issues 57698 and 75697), so
        Prometheus is asked itself, the way by which Grafana gets the values of a variable.
        """
        asked = expr.replace("$__rate_interval", _RATE_INTERVAL)
        self.client.ask(f"api/datasources/uid/{SOURCE['uid']}/resources/api/v1/query", query=asked)

    def _fields(self, expr: str, *, instant: bool) -> Iterator[tuple[dict[str, Any], list[float | None]]]:
        """Yield the fields that are numbers: what each is, and its values."""
        answer = self.client.post("api/ds/query", question(expr, instant=instant))
        try:
            frames = answer["results"]["A"].get("frames") or []
            if not frames:
                self._refuse(expr)
            for frame in frames:
                columns = zip(frame["schema"]["fields"], frame["data"]["values"], strict=True)
                yield from (column for column in columns if column[0]["type"] == "number")
        except (LookupError, TypeError, AttributeError, ValueError):
            raise CannotAskError(f"{self.client.url}: what it answers is not Grafana's answer") from None


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
