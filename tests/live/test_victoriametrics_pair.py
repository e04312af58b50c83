"""A pair of Prometheus that writes to VictoriaMetrics: nothing twice or lost, panels and rules as in Prometheus.

`make victoriametrics` runs it; it takes minutes.
"""

from __future__ import annotations

import re
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from check.client import CannotAskError, Client
from check.panels import PrometheusItself, check, read_dashboards
from lab.fakes.recorded import Recorded
from lab.running.server import Target, Workspace
from lab.running.workspace import ROOT
from lab.servers.prometheus import Prometheus, shortened
from lab.servers.victoriametrics import VictoriaMetrics, Vmalert
from tests.live.test_panels import OF_DISKS_AND_WAL, OF_SESSIONS, TABLES_OF_NODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]
PATIENCE = 300.0
AWAY = 20.0  # seconds that the store is away
UP = 'up{job="prosody",instance="prosody1"}'
TARGETS = (
    ("prosody", "prosody1", "prosody-exporter"),
    ("prosody", "prosody2", "prosody-exporter"),
    ("push-gateway", "prosody1", "push-gateway"),
    ("haproxy", "haproxy1", "haproxy-3.2"),
    ("postgresql", "postgres1", "postgres-exporter-0.17-primary"),
    ("postgresql", "postgres2", "postgres-exporter-0.17-replica"),
    ("coturn", "coturn1", "coturn-exporter"),
    ("certificates", "monitoring1", "certificate-exporter"),
    ("synthetic", "monitoring1", "synthetic-exporter"),
    ("node", "haproxy1", "node-exporter-1.5"),
)


class Writer(Prometheus):
    """One server of the pair, with the shipped remote_write."""

    def __init__(self, lab: Workspace, replica: str, store: VictoriaMetrics) -> None:
        super().__init__(lab, interval=1)
        self.name, self._replica, self._store = f"prometheus-{replica}", replica, store
        self.target = Target("prometheus", f"monitoring-{replica}", self.port)

    def configured(self, _: dict[str, Any]) -> dict[str, Any]:
        """Use the variant for VictoriaMetrics, with the lab's address and without a password."""
        text = (ROOT / "prometheus/prometheus-victoriametrics.yml").read_text(encoding="utf-8")
        config = shortened(yaml.safe_load(text), self.interval)
        config["global"]["external_labels"]["replica"] = self._replica
        (write,) = config["remote_write"]
        write["url"] = f"{self._store.url}/api/v1/write"
        del write["basic_auth"]
        return config


class Store(PrometheusItself):
    """VictoriaMetrics, asked as Grafana asks it; it has no scrape interval to tell."""

    _rate_interval = "4s"


class Pair:
    """The stack: recorded targets, two Prometheus, the store."""

    def __init__(self, lab: Workspace) -> None:
        for job, instance, recording in TARGETS:
            Recorded(lab, job, instance, recording).start()
        self.store = VictoriaMetrics(lab, interval=1)
        self.store.start()
        self.writers = [Writer(lab, replica, self.store) for replica in "ab"]
        for writer in self.writers:
            writer.start()

    def ask(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return what the store answers."""
        when = {} if at is None else {"time": f"{at:.3f}"}
        found: list[dict[str, Any]] = Client(self.store.url, timeout=30).ask(
            "api/v1/query", query=expression, nocache="1", **when
        )["data"]["result"]
        return found

    def seconds(self, since: float, until: float) -> list[float]:
        """Return the times of the samples of one series in the store."""
        series = Client(self.store.url, timeout=30).ask(
            "api/v1/query", query=f"{UP}[{until - since:.0f}s]", time=f"{until:.3f}", nocache="1"
        )["data"]["result"]
        assert len(series) == 1, "both write one and the same series"
        return [float(at) for at, _ in series[0]["values"]]

    def gaps(self, since: float, until: float) -> list[tuple[float, float]]:
        """Return where more than two seconds are without a sample, relative to `since`."""
        times = [since, *self.seconds(since, until), until]
        return [(a - since, b - since) for a, b in pairwise(times) if b - a > 2.5]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Workspace() as lab:
        stack = Pair(lab)
        _until(lambda: len(stack.ask(UP)) == 1, "the first samples are in the store")
        yield stack


def _until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if holds():
                return
        except CannotAskError as error:
            what = f"{what}: {error}"
        assert time.monotonic() < deadline, what
        time.sleep(1)


def test_what_both_write_is_there_once(pair: Pair) -> None:
    began = time.time()
    time.sleep(30)  # samples to count: two writers give 60
    times = pair.seconds(began, began + 28)
    assert 24 <= len(times) <= 29, times
    assert not pair.ask('{replica!=""}')
    pair.writers[0].freeze()
    began = time.time()
    time.sleep(15)
    pair.writers[0].thaw()
    assert not pair.gaps(began, began + 13), "the other goes on"


def test_every_panel_has_the_data_that_it_has_in_prometheus(pair: Pair) -> None:
    dashboards = read_dashboards()
    excused = {"Firing alerts", *TABLES_OF_NODES, *OF_SESSIONS, *OF_DISKS_AND_WAL}

    def missing() -> list[str]:
        report = check(Store(pair.store.url), dashboards)
        unexplained = [name for name in report.empty if name.split(": ", 1)[1] not in excused]
        said[:] = [*report.wrong, *unexplained]
        return said

    said: list[str] = []
    _until(lambda: not missing(), f"panels {said}")


def test_every_rule_gives_the_series_that_it_gives_in_prometheus(pair: Pair) -> None:
    writer = pair.writers[1]
    different: dict[str, tuple[list[str], list[str]]] = {}

    def look() -> bool:
        different.clear()
        for rule in _rules(writer):
            now = time.time()
            there = {_named(sample.labels) for sample in writer.query(rule["expr"])}
            here = {_named(series["metric"]) for series in pair.ask(rule["expr"], now)}
            if here != there:
                different[rule.get("alert") or rule["record"]] = (sorted(there - here)[:3], sorted(here - there)[:3])
        return not different

    try:
        _until(look, "the same")
    except AssertionError:
        pytest.fail("\n".join(f"{name}: only there or here {series}" for name, series in different.items()))


def test_vmalert_evaluates_every_rule_and_fires_what_prometheus_fires(pair: Pair) -> None:
    writer = pair.writers[1]
    vmalert = Vmalert(pair.store, writer.directory / "rules")
    vmalert.start()

    def fired(alerts: list[dict[str, Any]]) -> set[str]:
        return {_named(one["labels"]) for one in alerts if one["state"] == "firing"}

    there: set[str] = set()
    here: set[str] = set()

    def same() -> bool:
        there.clear()
        here.clear()
        there.update(fired(writer.alerts()))
        here.update(fired(Client(vmalert.url).ask("api/v1/alerts")["data"]["alerts"]))
        return bool(there) and {re.sub(r"\b(alertgroup|cluster|replica)=\S+ ?", "", one).strip() for one in here} == {
            re.sub(r"\b(cluster|replica)=\S+ ?", "", one).strip() for one in there
        }

    try:
        _until(same, "the same alerts")
    except AssertionError:
        pytest.fail(f"only in Prometheus {sorted(there - here)}, only in vmalert {sorted(here - there)}")
    errors = [rule.get("lastError") or rule.get("last_error") for group in vmalert.groups() for rule in group["rules"]]
    assert not [error for error in errors if error and "127.0.0.1:9" not in error]
    vmalert.stop()


def test_a_restart_of_the_store_loses_nothing(pair: Pair) -> None:
    began = time.time()
    time.sleep(10)
    pair.store.stop()
    time.sleep(AWAY)
    pair.store.start()
    back = time.time()
    _until(lambda: not pair.gaps(began, back), "all seconds are there")
    print(f"restart, {back - began - 10:.0f} s away: no gap in {back - began:.0f} s")  # noqa: T201 - measured


def test_an_outage_of_the_store_loses_at_most_what_was_not_yet_on_its_disk(pair: Pair) -> None:
    began = time.time()
    time.sleep(20)
    pair.store.kill()
    killed = time.time()
    time.sleep(AWAY)
    pair.store.start()
    back = time.time()
    _until(lambda: all(to <= killed - began + 2.5 for _, to in pair.gaps(began, back)), "what was scraped meanwhile")
    lost = sum(to - since for since, to in pair.gaps(began, back))
    print(f"outage, {back - killed:.0f} s away: {lost:.1f} s before it without a sample")  # noqa: T201 - measured
    assert all(since >= killed - began - 8 for since, _ in pair.gaps(began, back)), "it writes to its disk every 5 s"


def _rules(writer: Prometheus) -> list[dict[str, Any]]:
    files = sorted((writer.directory / "rules").glob("*.yaml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def _named(labels: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in ("cluster", "__name__"))
