"""A pair of Prometheus that writes to VictoriaMetrics: nothing twice or lost, panels and rules as in Prometheus.

`make victoriametrics` runs it; it takes minutes.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from check.client import CannotAskError, HttpClient
from check.panels import PrometheusItself, check, read_dashboards
from lab.fakes.recorded import Recorded
from lab.running.server import ScrapeTarget, Workspace
from lab.running.workspace import ROOT
from lab.servers.prometheus import Prometheus, shortened
from lab.servers.victoriametrics import VictoriaMetrics, Vmalert
from tests.live.test_panels import OF_DAYS, OF_DISKS_AND_WAL, OF_SESSIONS, TABLES_OF_NODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]
PATIENCE = 300.0
EVERY = 5  # seconds between two scrapes
HASTE = 12  # the promises' shortest window, 5m, becomes 25 s, which holds as many scrapes as it must
AWAY = 30.0  # seconds that the store is away
LOST = 60.0  # seconds of samples that may be lost: VictoriaMetrics writes to its disk each 5 s, later if it is busy
# The first: the archive of a server that never archived has the age NaN, which VictoriaMetrics does not keep, so that
# the item is unknown and not failed. The second remembers a day of evaluations; deduplication keeps every other one.
DIFFERENT = {"checklist_item {'id': 'I1'}", "ChecklistItemFails {'severity': 'warning'}"}
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
        super().__init__(lab, interval=EVERY)
        self.haste = HASTE
        self.name, self._replica, self._store = f"prometheus-{replica}", replica, store
        self.target = ScrapeTarget("prometheus", f"monitoring-{replica}", self.port)

    def configured(self, _: dict[str, Any]) -> dict[str, Any]:
        """Use the variant for VictoriaMetrics, with the lab's address and without a password."""
        text = (ROOT / "prometheus/prometheus-victoriametrics.yml").read_text(encoding="utf-8")
        config = shortened(yaml.safe_load(text), self.interval)
        config["global"]["external_labels"]["prometheus_replica"] = self._replica
        (write,) = config["remote_write"]
        write["url"] = f"{self._store.url}/api/v1/write"
        del write["basic_auth"]
        return config


class Store(PrometheusItself):
    """VictoriaMetrics, asked as Grafana asks it; it has no scrape interval to tell."""

    _rate_interval = f"{4 * EVERY}s"


class Pair:
    """The stack: recorded targets, two Prometheus, the store, and vmalert on it."""

    def __init__(self, lab: Workspace) -> None:
        for job, instance, recording in TARGETS:
            Recorded(lab, job, instance, recording).start()
        self.store = VictoriaMetrics(lab, interval=EVERY)
        self.store.start()
        self.writers = [Writer(lab, replica, self.store) for replica in "ab"]
        for writer in self.writers:
            writer.start()
        self.vmalert = Vmalert(self.store, self.writers[1].directory / "rules", "-external.label=cluster=commeazy")
        self.vmalert.start()

    def ask(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return what the store answers."""
        when = {} if at is None else {"time": f"{at:.3f}"}
        found: list[dict[str, Any]] = HttpClient(self.store.url, timeout=30).ask(
            "api/v1/query", query=expression, nocache="1", **when
        )["data"]["result"]
        return found

    def times(self, since: float, until: float) -> list[float]:
        """Return when the store has samples of one series."""
        return _times(self.store.url, since, until)

    def lost(self, since: float, until: float) -> list[float]:
        """Return when a Prometheus of the pair has a sample, and the store has none from either at about that time."""
        kept = self.times(since - EVERY, until + EVERY)
        own = [at for writer in self.writers for at in _times(writer.url, since, until)]
        assert own, "nothing was scraped"
        return [at for at in sorted(own) if not any(abs(at - one) <= EVERY for one in kept)]


def _times(url: str, since: float, until: float) -> list[float]:
    series = HttpClient(url, timeout=30).ask(
        "api/v1/query", query=f"{UP}[{until - since:.0f}s]", time=f"{until:.3f}", nocache="1"
    )["data"]["result"]
    assert len(series) <= 1, "both write one and the same series"
    return [float(at) for one in series for at, _ in one["values"]]


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
    time.sleep(12 * EVERY)  # samples to count
    until = time.time() - EVERY
    own = [_times(writer.url, began, until) for writer in pair.writers]
    kept = pair.times(began, until)
    assert len({int(at // EVERY) for at in kept}) >= len(kept) - 1, "one in each interval"
    assert len(kept) < sum(map(len, own))
    assert not pair.lost(began, until)
    assert not pair.ask('{prometheus_replica!=""}')


def test_one_of_the_pair_is_enough(pair: Pair) -> None:
    pair.writers[0].kill()
    began = time.time()
    time.sleep(6 * EVERY)
    until = time.time() - EVERY
    pair.writers[0].start()
    _until(lambda: not pair.lost(began, until), "the other goes on")


def test_every_panel_has_the_data_that_it_has_in_prometheus(pair: Pair) -> None:
    dashboards = read_dashboards()
    excused = {"Firing alerts", *OF_DAYS, *TABLES_OF_NODES, *OF_SESSIONS, *OF_DISKS_AND_WAL}

    def missing() -> list[str]:
        report = check(Store(pair.store.url), dashboards)
        unexplained = [name for name in report.empty if name.split(": ", 1)[1] not in excused]
        said[:] = [*report.wrong, *unexplained]
        return said

    said: list[str] = []
    try:
        _until(lambda: not missing(), "all panels")
    except AssertionError:
        pytest.fail(str(said))


def test_every_rule_gives_the_series_that_it_gives_in_prometheus(pair: Pair) -> None:
    writer = pair.writers[1]
    rules = {f"{rule.get('alert') or rule['record']} {rule.get('labels')}": rule["expr"] for rule in _rules(writer)}
    assert rules.keys() >= DIFFERENT
    rules = {name: expr for name, expr in rules.items() if name not in DIFFERENT}
    different: dict[str, tuple[list[str], list[str]]] = {}

    def look() -> bool:
        """Ask for the rules that have not given the same yet: scrapes go on between two questions."""
        for name, expr in list(rules.items()):
            # VictoriaMetrics keeps and gives no NaN, which is as unknown as nothing.
            there = {_named(sample.labels) for sample in writer.query(expr) if not math.isnan(sample.value)}
            here = {_named(series["metric"]) for series in pair.ask(expr)}
            if here == there:
                del rules[name]
            else:
                different[name] = (sorted(there - here)[:3], sorted(here - there)[:3])
        return not rules

    count = len(rules)
    try:
        _until(look, "the same")
    except AssertionError:
        pytest.fail("\n".join(f"{name}: only there or here {different[name]}" for name in rules))
    print(f"{count} rules give the same series")  # noqa: T201 - measured


def test_vmalert_evaluates_every_rule_and_fires_what_prometheus_fires(pair: Pair) -> None:
    writer = pair.writers[1]

    def fired(alerts: list[dict[str, Any]]) -> set[str]:
        return {_named(one["labels"]) for one in alerts if one["state"] == "firing"}

    missing: dict[str, set[str]] = {}

    def same() -> bool:
        """See each alert that fires in Prometheus fire here, too, and no other."""
        there = fired(writer.alerts())
        here = fired(HttpClient(pair.vmalert.url).ask("api/v1/alerts")["data"]["alerts"])
        missing.update({"only in Prometheus": there - here, "only in vmalert": here - there})
        return bool(there) and here == there

    try:
        _until(same, "the same alerts")
    except AssertionError:
        pytest.fail(str(missing))
    rules = [rule for group in pair.vmalert.groups() for rule in group["rules"]]
    errors = [rule.get("lastError") or rule.get("last_error") for rule in rules]
    assert not [error for error in errors if error and "127.0.0.1:9" not in error]
    print(f"vmalert: {len(rules)} rules without an error, {len(fired(writer.alerts()))} alerts fire")  # noqa: T201


def test_a_restart_of_the_store_loses_nothing(pair: Pair) -> None:
    began = time.time()
    time.sleep(2 * EVERY)
    pair.store.stop()
    time.sleep(AWAY)
    pair.store.start()
    back = time.time()
    _until(lambda: not pair.lost(began, back), "what was scraped meanwhile")
    print(f"restart: away for {back - began - 2 * EVERY:.0f} s, no sample lost")  # noqa: T201 - measured


def test_an_outage_of_the_store_loses_nothing_that_was_scraped_meanwhile(pair: Pair) -> None:
    began = time.time()
    time.sleep(6 * EVERY)
    pair.store.kill()
    killed = time.time()
    time.sleep(AWAY)
    pair.store.start()
    back = time.time()
    _until(lambda: not pair.lost(killed, back), "what was scraped meanwhile")
    lost = pair.lost(began, back)
    oldest = max((killed - at for at in lost), default=0)
    print(f"outage: away for {back - killed:.0f} s, {len(lost)} samples lost, of the {oldest:.0f} s before it")  # noqa: T201
    # What it had accepted and not yet written to its disk is gone, and nothing else.
    assert all(killed - LOST <= at < killed for at in lost), [at - killed for at in lost]


def _rules(writer: Prometheus) -> list[dict[str, Any]]:
    files = sorted((writer.directory / "rules").glob("*.yaml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def _named(labels: dict[str, str]) -> str:
    return " ".join(
        f"{name}={value}" for name, value in sorted(labels.items()) if name not in ("cluster", "alertgroup", "__name__")
    )
