"""Asks Prometheus, or Grafana, for every panel of every dashboard, and says which have no data; draws nothing.

`python -m check.panels --prometheus http://localhost:9090` ends with 1 if a panel is empty that may not be;
`commeazy-check --grafana` asks through Grafana's own query API.
Each panel is asked twice: for all nodes, and for the first one alone. A panel that is empty while all is well says why,
where Grafana would say "No data".
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml

import dashboards
from check.client import ApiRefusedError, CannotAskError, HttpClient
from dashboards import promql
from toolkit.values import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOLDER = Path(str(dashboards.__file__)).parent
NO_DATA = "NO DATA"  # Grafana's text for a panel that must not be empty; any other text is the reason why it may be
# Verdicts of a tile that is no data: there is none, or it is only of what still answers.
_FAULTS = {NO_DATA, promql.PROSODY.word, promql.PingedNodes.word, promql.CERTIFICATES.word, promql.PROMISES.word}
ALL = ".+"
RANGE, _STEP = 300, 10  # seconds a graph looks back here, and between its points


@dataclass(frozen=True)
class PanelQuery:
    """One query of a panel, with Grafana's variables still in it."""

    ref: str
    expr: str
    instant: bool
    table: bool


@dataclass(frozen=True)
class Panel:
    """A panel that shows data; `may_be_empty` is the reason it gives, None if it gives none."""

    dashboard: str
    title: str
    queries: tuple[PanelQuery, ...]
    may_be_empty: str | None

    @property
    def name(self) -> str:
        """Where a person finds it."""
        return f"{self.dashboard}: {self.title}"


@dataclass(frozen=True)
class Dashboard:
    """A dashboard's panels, and its node variables with the job each takes its nodes from."""

    title: str
    jobs: Mapping[str, str]
    panels: tuple[Panel, ...]


@dataclass
class Report:
    """The result: names of panels with data, the reasons of panels that may be empty, and what is wrong."""

    filled: list[str] = field(default_factory=list)
    empty: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the report as a person reads it."""
        counted = f"{len(self.filled)} of {len(self.filled) + len(self.wrong)} panels have data"
        rest = f"; {len(self.empty)} more are empty, as they may be when all is well:" if self.empty else ""
        return [
            counted + rest,
            *(f"  {name:<60}{reason}" for name, reason in self.empty.items()),
            *(f"  NO DATA  {line}" for line in self.wrong),
        ]


def read_dashboards() -> list[Dashboard]:
    """Read the generated dashboards."""
    return [_dashboard(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(FOLDER.glob("*.json"))]


def _dashboard(model: dict[str, Any]) -> Dashboard:
    jobs = {
        variable["name"]: re.findall(r'job="([\w-]+)"', variable["query"]["query"])[0]
        for variable in model["templating"]["list"]
        if variable["type"] == "query"
    }
    return Dashboard(model["title"], jobs, tuple(_panels(model["title"], model["panels"])))


def _panels(title: str, panels: Sequence[dict[str, Any]]) -> Iterator[Panel]:
    for panel in panels:
        yield from _panels(title, panel.get("panels", ()))
        if "targets" in panel:
            queries = tuple(
                PanelQuery(each["refId"], each["expr"], each["instant"], table=each["format"] == "table")
                for each in panel["targets"]
            )
            said = panel["fieldConfig"]["defaults"]["noValue"]
            yield Panel(title, panel["title"], queries, None if said == NO_DATA else said)


def filled_in(expr: str, nodes: Mapping[str, str], rate_interval: str = "$__rate_interval") -> str:
    """Return a query with values in place of the variables, as Grafana sends it."""
    for name, value in nodes.items():
        expr = expr.replace(f"${name}", value)
    return expr.replace("$__rate_interval", rate_interval)


def as_regex(node: str) -> str:
    """Return a node's name as Grafana writes it into a matcher: a regular expression inside a PromQL string."""
    return re.escape(node).replace("\\", r"\\")


class Datasource(Protocol):
    """What answers a panel's queries: Prometheus itself, or Grafana, which asks it. All raise CannotAskError."""

    def nodes(self, job: str) -> list[str]:
        """Return the nodes of a job that are scraped, as a dashboard's variable lists them."""

    def instant(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of every series that a query gives now."""

    def graph(self, expr: str) -> list[float]:
        """Return all values of all series that a query gives for the last minutes."""


def check(source: Datasource, dashboards: Sequence[Dashboard]) -> Report:
    """Ask for every panel.

    Raises:
        CannotAskError: the source does not answer. A query that it refuses is a line of the report.
    """
    report = Report()
    for dashboard in dashboards:
        first = {name: source.nodes(job) for name, job in dashboard.jobs.items()}
        choices = {"all nodes": dict.fromkeys(dashboard.jobs, ALL)}
        if all(first.values()):
            choices["one node"] = {name: as_regex(nodes[0]) for name, nodes in first.items()}
        for panel in dashboard.panels:
            try:
                missing = [
                    f"{query.ref} for {choice}"
                    for query in panel.queries
                    for choice, nodes in choices.items()
                    if not _has_data(source, query, filled_in(query.expr, nodes))
                ]
            except ApiRefusedError as error:
                report.wrong.append(f"{panel.name}: {error}")
                continue
            if not missing:
                report.filled.append(panel.name)
            elif panel.may_be_empty:
                report.empty[panel.name] = panel.may_be_empty
            else:
                report.wrong.append(f"{panel.name} (query {', '.join(missing)})")
    return report


def _has_data(source: Datasource, query: PanelQuery, expr: str) -> bool:
    if query.table:
        return any(not math.isnan(value) for _, value in source.instant(expr))
    if query.instant:
        # A tile has a word for NaN, and a verdict for what does not answer.
        return any(labels.get("verdict") not in _FAULTS for labels, _ in source.instant(expr))
    return any(not math.isnan(value) for value in source.graph(expr))


class PrometheusItself:
    """Prometheus, asked as Grafana asks it.

    Args:
        url: of Prometheus.
    """

    def __init__(self, url: str) -> None:
        self._client = HttpClient(url, timeout=30)

    @cached_property
    def _rate_interval(self) -> str:
        """Four scrape intervals, as Grafana does for $__rate_interval."""
        config = yaml.safe_load(self._ask("status/config")["yaml"])
        return f"{4 * duration(config['global']['scrape_interval']):.0f}s"

    def nodes(self, job: str) -> list[str]:
        """See Datasource."""
        return sorted(labels["instance"] for labels, _ in self.instant(f'up{{job="{job}"}}'))

    def instant(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """See Datasource."""
        query = expr.replace("$__rate_interval", self._rate_interval)
        return [(series["metric"], float(series["value"][1])) for series in self._ask("query", query=query)["result"]]

    def graph(self, expr: str) -> list[float]:
        """See Datasource."""
        now = time.time()
        times = {"start": f"{now - RANGE:.3f}", "end": f"{now:.3f}", "step": str(_STEP)}
        query = expr.replace("$__rate_interval", self._rate_interval)
        series = self._ask("query_range", query=query, **times)["result"]
        return [float(value) for one in series for _, value in one["values"]]

    def _ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - JSON
        return self._client.ask(f"api/v1/{path}", **parameters)["data"]


def main() -> int:
    """Run the check; return 0 if no panel lacks data, 1 if one does, 2 if Prometheus cannot be asked."""
    parser = argparse.ArgumentParser(prog="check.panels", description="Which panels have data in a Prometheus.")
    parser.add_argument("--prometheus", default="http://localhost:9090", metavar="URL", help="(default %(default)s)")
    url = parser.parse_args().prometheus
    try:
        report = check(PrometheusItself(url), read_dashboards())
    except CannotAskError as error:
        sys.stderr.write(f"panels: {error}\n")
        return 2
    sys.stdout.writelines(f"{line}\n" for line in report.lines())
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
