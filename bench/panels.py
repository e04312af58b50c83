"""What the panels cost a Prometheus that has watched 100 Prosody nodes for 24 hours: each query, as Grafana asks it.

The day is written into Prometheus' storage at once (promtool), from recorded answers, at the real scrape intervals;
only series that a panel reads are in it. Every query is run for all nodes, which is the most expensive choice.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import yaml

from bench.simulated import page, targets, write_blocks
from check.client import HttpClient
from check.panels import ALL, Dashboard, PanelQuery, filled_in, read_dashboards
from lab.fakes.recordings import SOURCES
from lab.running.server import Workspace
from lab.running.workspace import ROOT
from lab.servers.prometheus import Prometheus
from toolkit.values import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NODES: Final = 100
HOURS: Final = 24
BLOCK: Final = 7200  # seconds that one block of Prometheus' storage holds
STEP: Final = 120  # seconds: what Grafana makes of 24 hours in a panel a third of a wide screen
TIMES: Final = 3  # each query is asked
LIMIT: Final = 1.0  # seconds that a panel may take
SHOWN: Final = 10
# What the recording rules make of these jobs; here it is written down, not evaluated.
RECORDED: Final = {
    "prosody": (
        "prosody_stanza_rate",
        *(
            f"instance:prosody_{what}_seconds:{rank}"
            for what in ("event_loop_lag", "websocket_ping")
            for rank in ("p50", "p99")
        ),
        'instance_transport_reason:prosody_connection_errors:rate2m{transport="websocket",reason="policy-violation"}',
        'instance_reason:prosody_exporter_scrape_failures:rate2m{reason="timeout"}',
    ),
    "haproxy": ('haproxy_backend_up{proxy="prosody_ws"}',),
    "postgresql": ("pg_replication_lag_bytes",),
    "push-gateway": (
        "push_gateway_up",
        "instance:push_voip_failed:ratio",
        "instance:push_fcm_failed:ratio",
        'instance_handler:push_latency_ms:p99{handler="voip"}',
        'instance_handler:push_latency_ms:p99{handler="fcm"}',
        'instance_handler:push_latency_ms:p50{handler="voip"}',
        'instance_handler:push_latency_ms:p50{handler="fcm"}',
        *(
            f'instance_handler_stage:push_stage_seconds:p99{{handler="{handler}",stage="{stage}"}}'
            for handler in ("voip", "fcm")
            for stage in ("queue", "connect", "provider")
        ),
        # A bad day: three reasons for each handler, on every node.
        *(
            f'instance_handler_reason:push_{what}:rate2m{{handler="{handler}",reason="{reason}"}}'
            for what in ("failures", "retries")
            for handler in ("voip", "fcm")
            for reason in ("connection_lost", "no_answer", "deadline")
        ),
        *(f'instance_code:push_requests:rate2m{{code="{code}"}}' for code in (200, 403, 429)),
    ),
    "node": (
        'instance_mountpoint:node_filesystem_free:ratio{mountpoint="/"}',
        *(f'instance_mountpoint:node_filesystem_full_seconds:{rate}{{mountpoint="/"}}' for rate in ("short", "long")),
        *(f"instance:node_cpu_{what}:ratio" for what in ("used", "stolen")),
        *(f'instance_kind:backup_age_days:now{{kind="{kind}"}}' for kind in ("base", "restore_test")),
        "instance:log_age_seconds:now",
        "instance:node_oom_kills:increase",
        'instance_name:node_systemd_restarts:increase{name="haproxy.service"}',
    ),
    "coturn": (
        'instance_probe_transport_reason:coturn_probe_failures:rate2m{probe="turn",transport="udp",reason="quota"}',
    ),
}
_SAMPLE: Final = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?(?: \S+)?")


@dataclass(frozen=True)
class Cost:
    """One query, what it took, and how many series it gave."""

    name: str
    seconds: float
    series: int


def series(job: str, asked: str) -> list[str]:
    """Return the series of one target that a query asks for, as OpenMetrics writes them, with NODE for the node."""
    found = []
    for line in (*page(job).splitlines(), *RECORDED.get(job, ()), "up"):
        sample = _SAMPLE.fullmatch(line)
        if sample and re.search(rf"\b{sample[1]}\b", asked):
            labels = ",".join(filter(None, (sample[2], f'job="{job}"', 'instance="NODE"')))
            found.append(f"{sample[1]}{{{labels}}}")
    return found


def samples(names: Sequence[str], begin: int, end: int, interval: int) -> str:
    """Return these series over a while, each rising by an amount of its own."""
    return "".join(
        f"{name} {(moment - begin) * (1 + number % 7)} {moment}\n"
        for number, name in enumerate(names)
        for moment in range(begin, end, interval)
    )


def fill(folder: Path, end: int, asked: str) -> tuple[int, int]:
    """Write the day before `end` into a storage folder; return how many series and samples."""
    config = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    intervals = {job["job_name"]: int(duration(job["scrape_interval"])) for job in config["scrape_configs"]}
    entries = targets(NODES, 0, hosts=NODES)
    nodes = {job: [str(each["labels"]["instance"]) for each in found] for job, found in entries.items()}  # type: ignore[index] # a target file's entries are of any kind
    names = {job: series(job, asked) for job in SOURCES}
    for begin in range(end - HOURS * 3600, end, BLOCK):
        text = folder / "day.om"
        with text.open("w", encoding="utf-8") as file:
            for job in SOURCES:
                one = samples(names[job], begin, begin + BLOCK, intervals[job])
                file.writelines(one.replace("NODE", node) for node in nodes[job])
            watchdog = 'ALERTS{alertname="Watchdog",alertstate="firing",severity="none"}'
            file.write(samples([watchdog], begin, begin + BLOCK, 15))
            file.write("# EOF\n")
        write_blocks(text, folder / "data")
        text.unlink()
    counts = {job: len(names[job]) * len(nodes[job]) for job in SOURCES}
    return sum(counts.values()), sum(count * HOURS * 3600 // intervals[job] for job, count in counts.items())


class Filled(Prometheus):
    """A Prometheus that scrapes nothing and has no rules: its storage is filled before it starts."""

    def prepare(self) -> None:
        """Write an empty configuration."""
        (self.directory / "prometheus.yml").write_text("")


def costs(client: HttpClient, end: int, dashboards: Sequence[Dashboard]) -> Iterator[Cost]:
    """Ask every query `TIMES` times; give the median."""
    for dashboard in dashboards:
        nodes = dict.fromkeys(dashboard.jobs, ALL)
        for panel in dashboard.panels:
            for query in panel.queries:
                path, parameters = _question(query, filled_in(query.expr, nodes, f"{STEP + 30}s"), end)
                took = []
                for _ in range(TIMES):
                    began = time.perf_counter()
                    answer = client.ask(path, **parameters)
                    took.append(time.perf_counter() - began)
                yield Cost(f"{panel.name} ({query.ref})", statistics.median(took), len(answer["data"]["result"]))


def _question(query: PanelQuery, expr: str, end: int) -> tuple[str, dict[str, str]]:
    if query.instant:
        return "api/v1/query", {"query": expr, "time": str(end)}
    times = {"start": end - HOURS * 3600, "end": end, "step": STEP}
    return "api/v1/query_range", {"query": expr} | {name: str(value) for name, value in times.items()}


def main() -> int:
    """Fill a day, ask everything, print the slowest; return 1 if a query takes longer than a second."""
    dashboards = read_dashboards()
    asked = " ".join(query.expr for board in dashboards for panel in board.panels for query in panel.queries)
    with Workspace() as lab:
        prometheus = Filled(lab)
        end = int(time.time()) // BLOCK * BLOCK
        count, written = fill(prometheus.directory, end, asked)
        print(f"\n{NODES} nodes, {HOURS} hours: {count:,} series that panels ask for, {written:,} samples")
        prometheus.start()
        # The last block ends at `end`: a query for that very moment still sees its last samples.
        client = HttpClient(prometheus.url, timeout=60)
        found = sorted(costs(client, end, dashboards), key=lambda cost: -cost.seconds)
    slow = [cost for cost in found if cost.seconds > LIMIT]
    print(f"{len(found)} queries, all nodes, {HOURS} hours; the slowest {SHOWN}:")
    for cost in found[:SHOWN]:
        print(f"  {cost.seconds:6.2f} s  {cost.series:5} series  {cost.name}")
    print(f"{len(slow)} of them take longer than {LIMIT:g} s")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
