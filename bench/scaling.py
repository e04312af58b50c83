"""`make scaling`: how many nodes one Prometheus carries, and what VictoriaMetrics takes for the same.

Simulated nodes are scraped as often as real ones, first without rules and then with all of them, as shipped. The ten
minutes before are in the storage already, of all series that rules read over a time, so that windows are full. What it
costs is counted in CPU seconds of the process: other work on the machine makes them hardly more. The results are kept
in bench/scaling.json; docs/scaling-report.md is made from them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import psutil

from alerts.generate import RULES
from alerts.jobs import JOBS
from bench.promises import memory
from bench.scaling_report import report
from bench.scaling_results import Cost, Query, Results, Size, Storage, Victoria
from bench.simulated import STEP, Simulated, Simulation, write_blocks
from check.client import CannotAskError, HttpClient
from lab.fakes.recordings import SOURCES
from lab.running.programs import program
from lab.running.server import Workspace
from lab.running.workspace import ROOT, LabError
from lab.scraping import ScrapedPage, page
from lab.servers.victoriametrics import VictoriaMetrics, Vmalert

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lab.running.server import Server

SIZES: Final = (5, 100, 200)
PARTS: Final = ("storage", *map(str, SIZES))
COMPARED: Final = 100  # nodes that VictoriaMetrics scrapes too
HISTORY: Final = 600  # seconds before the first scrape
SETTLING: Final = 40  # until every target was scraped at least once
SCRAPING: Final = 30  # without rules; every target once or twice, as often as in any other half minute
RULING: Final = 60  # with rules, at least: four turns of most groups, one of the promises'
PATIENCE: Final = 180  # until each rule was evaluated
QUERIES: Final = 5  # that are compared, the slowest
TIMES: Final = 5  # each is asked
STORED: Final = (5, ("prosody", "push-gateway", "node"))  # nodes and jobs whose samples of one block are stored
BLOCK: Final = 7200  # seconds
KEPT: Final = ROOT / "bench/scaling.json"
REPORT: Final = ROOT / "docs/scaling-report.md"
_RANGE: Final = re.compile(r"(\w+)(?:\{[^}]*\})?\[\w+\]")


def read_over_time() -> set[str]:
    """Return the names that the shipped rules read over a window."""
    return {name for file in RULES.glob("*.yaml") for name in _RANGE.findall(file.read_text(encoding="utf-8"))}


@dataclass(frozen=True)
class Reading:
    """What was counted until a moment: seconds, series, and by server CPU seconds and evaluations of a rule."""

    moment: float
    series: float
    cpu: dict[str, float]
    evaluations: dict[str, float]


def read(servers: Sequence[Server]) -> Reading:
    """Read all counters now; Prometheus is the first of the servers."""
    cpu, evaluations, series = {}, {}, 0.0
    for server in servers:
        times = psutil.Process(server.pid).cpu_times()
        cpu[server.name] = times.user + times.system
        own = ScrapedPage(page(server.address))
        evaluations[server.name] = sum(
            total(own, name) for name in ("prometheus_rule_evaluations_total", "vmalert_execution_total")
        )
        series += total(own, "prometheus_tsdb_head_series")
    return Reading(time.monotonic(), series, cpu, evaluations)


def total(own: ScrapedPage, name: str) -> float:
    """Return the sum of the samples of this name on a page; 0 if there are none."""
    return own(name) if name in own.names else 0.0


def cost(server: Server, evaluator: Server, readings: tuple[Reading, Reading, Reading], a_minute: float) -> Cost:
    """Return what a server took.

    Args:
        server: which one.
        evaluator: who evaluated the rules.
        readings: when scraping was measured, when the rules began, and the end.
        a_minute: evaluations of a rule in a minute, by the groups' intervals: if there was no time for all of them,
            those that took place count.
    """
    begin, ruled, end = readings
    scraping = (ruled.cpu.get(server.name, 0) - begin.cpu.get(server.name, 0)) / (ruled.moment - begin.moment)
    rules = end.cpu[server.name] - ruled.cpu.get(server.name, 0) - scraping * (end.moment - ruled.moment)
    minutes = end.evaluations[evaluator.name] / a_minute
    return Cost(scraping, rules / minutes, memory(server.pid)[0] * 2**20)


def measure(nodes: int) -> dict[str, Size | Victoria]:
    """Run one Prometheus on so many nodes and, on some, a VictoriaMetrics beside it; return what both took."""
    simulation, compared = Simulation(nodes), nodes == COMPARED
    with Workspace() as lab, ExitStack() as stack:
        served = lab.ports.reserve()
        prometheus = Simulated(lab, simulation, served)
        history = lab.directory / "history.om"
        now = int(time.time()) // STEP * STEP
        names = read_over_time() - {"up"}
        simulation.write_samples(history, range(now - HISTORY, now, STEP), names.__contains__, tuple(SOURCES))
        write_blocks(history, prometheus.directory / "data")
        stack.enter_context(simulation.serving(served))
        prometheus.start()
        servers: list[Server] = [prometheus]
        if compared:
            database = VictoriaMetrics(lab, prometheus.directory / "scrape.yml")
            database.start()
            load(database, history)
            servers.append(database)
        history.unlink()
        time.sleep(SETTLING)
        begin = read(servers)
        time.sleep(SCRAPING)
        ruled = read(servers)
        prometheus.evaluate()
        if compared:
            vmalert = Vmalert(database, prometheus.directory / "rules")
            vmalert.start()
            servers.append(vmalert)
        took = evaluated(prometheus)
        end = read(servers)
        if silent := sum(sample.value == 0 for sample in prometheus.query("up")):
            raise LabError(f"{silent} targets were not scraped in time: the machine has too much other work")
        (own,) = prometheus.query('count({__name__=~".+",instance="prosody1",job=~"prosody|push-gateway|node"})')
        own_page = ScrapedPage(page(prometheus.url))
        intervals = own_page.by("prometheus_rule_group_interval_seconds", "rule_group")
        added = own_page.by("prometheus_rule_group_last_evaluation_samples", "rule_group")
        rules = own_page.by("prometheus_rule_group_rules", "rule_group")
        readings, a_minute = (begin, ruled, end), sum(60 * many / intervals[group] for group, many in rules.items())
        size = Size(
            nodes=nodes,
            targets=sum(len(each) for each in prometheus.simulated.values()),
            node_series=int(own.value),
            series=ruled.series,
            recorded=end.series - ruled.series,
            scraped=sum(
                sample.value / JOBS[sample.labels["job"]].interval
                for sample in prometheus.query("sum by (job) (scrape_samples_scraped)")
            ),
            added=sum(samples / intervals[group] for group, samples in added.items()),
            prometheus=cost(prometheus, prometheus, readings, a_minute),
            groups=took,
            firing=sum(alert["state"] == "firing" for alert in prometheus.alerts()),
            federated=int(prometheus.query('count({__name__=~".+:.+"})')[0].value),
        )
        if not compared:
            return {"size": size}
        if errors := total(ScrapedPage(page(vmalert.url)), "vmalert_execution_errors_total"):
            raise LabError(f"{errors:.0f} errors of rules in vmalert{vmalert.last_words()}")
        victoria = Victoria(
            nodes,
            ScrapedPage(page(database.url))("vm_cache_entries", type="storage/hour_metric_ids"),
            cost(database, vmalert, readings, a_minute),
            cost(vmalert, vmalert, readings, a_minute),
            [],
        )
        vmalert.stop()  # it queries the same database
        return {"size": size, "victoria": replace(victoria, queries=list(compare(prometheus, database)))}


def load(database: VictoriaMetrics, text: Path) -> None:
    """Import a file in OpenMetrics' format."""
    with text.open("rb") as body:
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{database.url}/api/v1/import/prometheus", body, {"Content-Length": str(text.stat().st_size)}
        )
        urllib.request.urlopen(request, timeout=300).close()  # noqa: S310 - as above


def evaluated(prometheus: Simulated) -> dict[str, tuple[float, float]]:
    """Wait until each rule was evaluated, most of them some times; return each group's fastest time and interval."""
    took: dict[str, list[float]] = {}
    deadline = time.monotonic() + PATIENCE
    enough = time.monotonic() + RULING
    while True:
        time.sleep(5)
        groups = prometheus.groups()
        health: dict[str, str] = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
        if failing := [name for name, what in health.items() if what == "err"]:
            raise LabError(f"rules that fail: {', '.join(sorted(failing))}")
        for group in groups:
            took.setdefault(group["name"], []).extend(filter(None, [group["evaluationTime"]]))  # 0 before its first
        if time.monotonic() > enough and "unknown" not in health.values():
            found = {group["name"]: (min(took[group["name"]]), group["interval"]) for group in groups}
            if late := [name for name, (seconds, interval) in found.items() if seconds > interval]:
                raise LabError(f"rules of {', '.join(late)} took longer than their interval: too much other work here")
            return found
        if time.monotonic() > deadline:
            raise LabError(f"not all rules were evaluated in {PATIENCE} s: the machine has too much other work")


def compare(prometheus: Simulated, database: VictoriaMetrics) -> Iterator[Query]:
    """Ask both for the queries of the slowest rules, one after the other; yield the fastest answer of each."""
    rules = {rule["name"]: rule for group in prometheus.groups() for rule in group["rules"]}
    for rule in sorted(rules.values(), key=lambda rule: -rule["evaluationTime"])[:QUERIES]:
        found = {}
        for server in (prometheus, database):
            client, took, series = HttpClient(server.url, timeout=120), [], 0
            for _ in range(TIMES):
                began = time.perf_counter()
                series = len(client.ask("api/v1/query", query=rule["query"])["data"]["result"])
                took.append(time.perf_counter() - began)
            found[server] = (min(took), series)
        (one, ours), (other, theirs) = found.values()
        yield Query(rule["name"], one, other, (ours, theirs))


def store() -> Storage:
    """Store the samples of one block in both; return what that takes."""
    nodes, jobs = STORED
    simulation = Simulation(nodes)
    begin = (int(time.time()) // BLOCK - 1) * BLOCK
    with Workspace() as lab:
        text = lab.directory / "block.om"
        samples = simulation.write_samples(text, range(begin, begin + BLOCK, STEP), lambda _: True, jobs)
        blocks = lab.directory / "blocks"
        write_blocks(text, blocks)
        (meta,) = blocks.glob("*/meta.json")
        stats = json.loads(meta.read_text(encoding="utf-8"))["stats"]
        database = VictoriaMetrics(lab)
        database.start()
        load(database, text)
        urllib.request.urlopen(f"{database.url}/internal/force_flush", timeout=120).close()  # noqa: S310 - loopback
        database.stop()  # what is in memory is written
        data = database.directory / "data/data"
        index = size_of(data / "indexdb")
        return Storage(
            stats["numSeries"],
            samples,
            size_of(meta.parent / "chunks"),
            size_of(meta.parent / "index"),
            size_of(data) - index,
            index,
        )


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the report; return 0, or 1 if it could not be measured here, or 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="scaling", description="How many nodes one Prometheus carries.")
    parser.add_argument("--victoriametrics", metavar="VERSION", default="?", help="Debian's build does not say its own")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report of what is kept")
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}: only these; what is kept stays"
    )
    args = parser.parse_args(arguments)
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    try:
        for part in () if args.report else args.parts or PARTS:
            keep(part, args.victoriametrics)
    except (LabError, CannotAskError) as error:
        print(f"scaling: {error}", file=sys.stderr)
        return 1
    if missing := [part for part in PARTS if part not in kept()]:
        print(f"scaling: no report yet: {', '.join(missing)} was never measured", file=sys.stderr)
        return 1
    REPORT.write_text(report(Results.read(kept())), encoding="utf-8")
    print(f"Written to {REPORT.name}.")
    return 0


def kept() -> dict[str, Any]:
    """Return the parts measured last."""
    parts: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    return parts


def keep(part: str, version: str) -> None:
    """Measure a part and keep it; raise an error if a server or a rule fails, or the machine is too busy."""
    began = time.monotonic()
    found: dict[str, Any] = {"storage": store()} if part == "storage" else measure(int(part))
    print(part, found, flush=True)
    command = [program("prometheus"), "--version"]
    told = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - the program of the lab
    about = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "versions": (told.stdout.split()[2], version),
        "seconds": time.monotonic() - began,
    }
    parts = kept() | {part: about | {name: asdict(one) for name, one in found.items()}}
    KEPT.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
