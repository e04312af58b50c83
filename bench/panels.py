"""What the panels cost a Prometheus that has watched 100 Prosody nodes for 24 hours: each query, as Grafana asks it.

The day is written into Prometheus' storage at once (promtool), from recorded answers, at the real scrape intervals;
only series that a dashboard reads are in it, and one that is missing is an error. Every query of a panel or an
annotation is run for all nodes, which is the most expensive choice.
"""

from __future__ import annotations

import itertools
import json
import re
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import yaml

from alerts.generate import RULES
from bench.simulated import page, targets, write_blocks
from check.client import HttpClient
from check.panels import ALL, FOLDER, Dashboard, PanelQuery, filled_in, read_dashboards
from lab.fakes.recordings import SOURCES
from lab.running.server import Workspace
from lab.running.workspace import ROOT, LabError
from lab.servers.prometheus import Prometheus
from toolkit.values import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

NODES: Final = 100
HOURS: Final = 24
BLOCK: Final = 7200  # seconds that one block of Prometheus' storage holds
RULE_INTERVAL: Final = 15  # seconds
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
        "instance:prosody_event_loop_lag_seconds:mean",
        "instance:prosody_logins_failed:ratio",
        "instance:prosody_c2s_sessions:forecast",
        'instance_transport_reason:prosody_connection_errors:rate2m{transport="websocket",reason="policy-violation"}',
        'instance_reason:prosody_exporter_scrape_failures:rate2m{reason="timeout"}',
        *(
            f'instance_kind:prosody_pushes_silent:{what}{{kind="{kind}"}}'
            for what in ("increase", "ratio")
            for kind in ("call", "message")
        ),
        *(
            f'instance_kind:{histogram}:p99{{kind="{kind}"}}'
            for histogram in ("prosody_mod_push_http__handover_seconds", "prosody_push_wakeup_seconds")
            for kind in ("call", "message")
        ),
        *(
            f'instance_kind_result:prosody_push_wakeups:rate2m{{kind="{kind}",result="{result}"}}'
            for kind in ("call", "message")
            for result in ("silent", "superseded", "woke")
        ),
        *(f'instance_step:pushes:rate2m{{step="{step}"}}' for step in ("handed on", "woke")),
        *(f'instance_show:prosody_presence_sessions:sum{{show="{show}"}}' for show in range(6)),
        'instance_version:start_time_seconds:now{version="13.0.4"}',
    ),
    "haproxy": (
        'haproxy_backend_up{proxy="prosody_ws"}',
        "instance:haproxy_errors:ratio",
        'instance_proxy:haproxy_retries:increase{proxy="prosody_ws"}',
        'instance_version:start_time_seconds:now{version="2.6.12"}',
    ),
    "postgresql": (
        "pg_replication_lag_bytes",
        "instance:pg_archive_age_seconds:max",
        "instance:pg_transaction_seconds:max",
        "instance:pg_archiver_failures:increase",
    ),
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
        *(f'instance_step:pushes:rate2m{{step="{step}"}}' for step in ("received", "sent")),
        *(f'instance_handler:push_unregistered:rate2m{{handler="{handler}"}}' for handler in ("voip", "fcm")),
        *(
            f'instance_handler_le:push_latency_ms_bucket:rate2m{{handler="{handler}",le="{edge}"}}'
            for handler in ("voip", "fcm")
            for edge in range(14)
        ),
        *(
            f'instance_handler_outcome:push_canary:rate2m{{handler="{handler}",outcome="{outcome}"}}'
            for handler in ("voip", "fcm")
            for outcome in ("sent", "failed")
        ),
        'instance_version:start_time_seconds:now{version="1.0.0"}',
    ),
    "node": (
        'instance_mountpoint:node_filesystem_free:ratio{mountpoint="/"}',
        'instance_mountpoint:node_filesystem_files_free:ratio{mountpoint="/"}',
        *(f'instance_mountpoint:node_filesystem_full_seconds:{rate}{{mountpoint="/"}}' for rate in ("short", "long")),
        "instance:node_clock_offset_seconds:now",
        "instance_version:start_time_seconds:now",
        *(f"instance:node_cpu_{what}:ratio" for what in ("used", "stolen")),
        *(f'instance_kind:backup_age_days:now{{kind="{kind}"}}' for kind in ("base", "restore_test")),
        "instance:log_age_seconds:now",
        "instance:node_oom_kills:increase",
        'instance_name:node_systemd_restarts:increase{name="haproxy.service"}',
    ),
    "synthetic": ('instance_journey:synthetic_tries:ratio{journey="message"}',),
    "coturn": (
        'instance_probe_transport_reason:coturn_probe_failures:rate2m{probe="turn",transport="udp",reason="quota"}',
        *(f'instance_code:coturn_allocate_errors:rate2m{{code="{code}"}}' for code in (401, 486, 508)),
        'instance_version:start_time_seconds:now{version="4.6.1"}',
    ),
}
_SEVERITIES: Final = ("critical", "warning")
# A bad day, too: on every node an alert of each severity fires, and every promise is broken.
RECORDED_OF_EVERY_JOB: Final = tuple(
    f'{name}{{alertname="A{severity}",{state}severity="{severity}"}}'
    for severity in _SEVERITIES
    for name, state in (("ALERTS", 'alertstate="firing",'), ("ALERTS_FOR_STATE", ""))
)
_WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")
RECORDED_OF_A_PROMISE: Final = (
    *(f"slo:{what}" for what in ("objective:ratio", "error_budget:ratio", "coverage:ratio", "measured:seconds")),
    *(f"slo:{what}" for what in ("period_burn_rate:ratio", "period_error_budget_remaining:ratio")),
    *(f"slo:{what}" for what in ("verdict:bool", "bad_events:minimum", "known_cause:bool", "explained_by:bool")),
    'sloth_slo_info{severity="critical"}',
    *(f"slo:sli_error:ratio_rate{window}" for window in _WINDOWS),
    *(f"slo:bad_events:increase{window}" for window in _WINDOWS),
)
RECORDED_OF_A_NODE_OF_A_PROMISE: Final = (
    'slo:bad_events:by_place30m{from="NODE",to="NODE"}',
    'slo:bad_events_of_node:ratio{instance="NODE"}',
    'slo:explained_by:bool{instance="NODE"}',
)
RECORDED_ONCE: Final = ("slo:connections:ratio", 'ALERTS{alertname="Watchdog",alertstate="firing",severity="none"}')
_METRIC: Final = re.compile(r"[a-zA-Z_]\w*(?::\w+)+|[a-zA-Z_]\w*(?=[{\[])")
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
    for line in (*page(job).splitlines(), *RECORDED.get(job, ()), *RECORDED_OF_EVERY_JOB, "up"):
        sample = _SAMPLE.fullmatch(line)
        if sample and re.search(rf"\b{sample[1]}\b", asked):
            labels = ",".join(filter(None, (sample[2], f'job="{job}"', 'instance="NODE"')))
            found.append(f"{sample[1]}{{{labels}}}")
    return found


def series_of_the_service(nodes: Sequence[str]) -> list[str]:
    """Return the series that no target has: those about the promises, and the one alert that always fires."""
    found = list(RECORDED_ONCE)
    of_nodes = [line.replace("NODE", node) for line in RECORDED_OF_A_NODE_OF_A_PROMISE for node in nodes]
    rules = (RULES / "promises.yaml").read_text(encoding="utf-8")
    for promise in dict.fromkeys(re.findall(r"sloth_slo: ([\w-]+)", rules)):
        for line in (*RECORDED_OF_A_PROMISE, *of_nodes):
            name, _, labels = line.rstrip("}").partition("{")
            found.append(f'{name}{{sloth_slo="{promise}"{"," if labels else ""}{labels}}}')
    return found


def queries_of(dashboards: Sequence[Dashboard]) -> str:
    """Return all queries of these dashboards and of their vertical lines, as one text."""
    queries = (query.expr for board in dashboards for panel in board.panels for query in panel.queries)
    return " ".join([*queries, *marks().values()])


def unwritten(asked: str, written: Iterable[str]) -> set[str]:
    """Return the metrics that are asked for and of which there is nothing: a query for them would cost nothing here."""
    named = set(_METRIC.findall(re.sub(r'"[^"]*"', "", asked)))
    return named - {line.partition("{")[0] for line in written}


def samples(names: Sequence[str], begin: int, end: int, interval: int) -> str:
    """Return these series over a while, each rising by an amount of its own."""
    return "".join(
        f"{name} {(moment - begin) * (1 + number % 7)} {moment}\n"
        for number, name in enumerate(names)
        for moment in range(begin, end, interval)
    )


def fill(folder: Path, end: int, asked: str) -> tuple[int, int]:
    """Write the day before `end` into a storage folder; return how many series and samples.

    Raises:
        LabError: a metric that is asked for would not be there.
    """
    config = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    intervals = {job["job_name"]: int(duration(job["scrape_interval"])) for job in config["scrape_configs"]}
    entries = targets(NODES, 0, hosts=NODES)
    nodes = {job: [str(each["labels"]["instance"]) for each in found] for job, found in entries.items()}  # type: ignore[index] # a target file's entries are of any kind
    names = {job: series(job, asked) for job in SOURCES}
    of_service = series_of_the_service(nodes["prosody"])
    if missing := unwritten(asked, [*itertools.chain(*names.values()), *of_service]):
        raise LabError(f"bench/panels.py has no series of {', '.join(sorted(missing))}: add what the rules record")
    for begin in range(end - HOURS * 3600, end, BLOCK):
        text = folder / "day.om"
        with text.open("w", encoding="utf-8") as file:
            for job in SOURCES:
                one = samples(names[job], begin, begin + BLOCK, intervals[job])
                file.writelines(one.replace("NODE", node) for node in nodes[job])
            file.write(samples(of_service, begin, begin + BLOCK, RULE_INTERVAL))
            file.write("# EOF\n")
        write_blocks(text, folder / "data")
        text.unlink()
    counts = [(len(names[job]) * len(nodes[job]), intervals[job]) for job in SOURCES]
    counts.append((len(of_service), RULE_INTERVAL))
    return sum(count for count, _ in counts), sum(count * HOURS * 3600 // interval for count, interval in counts)


class Filled(Prometheus):
    """A Prometheus that scrapes nothing, has no rules and merges no blocks: its storage is filled before it starts."""

    def prepare(self) -> None:
        """Write an empty configuration."""
        (self.directory / "prometheus.yml").write_text("")

    def command(self) -> list[str]:
        """Leave the blocks as they are: merging a whole day at once, as no Prometheus has to, would disturb queries."""
        return [*super().command(), *(f"--storage.tsdb.{end}-block-duration={BLOCK}s" for end in ("min", "max"))]


def costs(client: HttpClient, end: int, dashboards: Sequence[Dashboard]) -> Iterator[Cost]:
    """Ask every query `TIMES` times; give the median."""
    for dashboard in dashboards:
        nodes = dict.fromkeys(dashboard.jobs, ALL)
        for panel in dashboard.panels:
            for query in panel.queries:
                yield _cost(client, f"{panel.name} ({query.ref})", query, nodes, end)
    for name, expr in marks().items():
        nodes = dict.fromkeys(re.findall(r"\$([a-z]\w*)", expr), ALL) | {
            "__interval": f"{STEP}s",
            "__from": str(1000 * (end - HOURS * 3600)),
        }
        yield _cost(client, f"{name} (annotation)", PanelQuery("Anno", expr, instant=False, table=False), nodes, end)


def marks() -> dict[str, str]:
    """Return what each page asks for its vertical lines, by the name and the first page that has it."""
    found: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.json")):
        model = json.loads(path.read_text(encoding="utf-8"))
        for each in model["annotations"]["list"]:
            if each["target"]["expr"] not in found.values():
                found[f"{model['title']}: {each['name']}"] = each["target"]["expr"]
    return found


def _cost(client: HttpClient, name: str, query: PanelQuery, nodes: Mapping[str, str], end: int) -> Cost:
    path, parameters = _question(query, filled_in(query.expr, nodes, f"{STEP + 30}s"), end)
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        answer = client.ask(path, **parameters)
        took.append(time.perf_counter() - began)
    return Cost(name, statistics.median(took), len(answer["data"]["result"]))


def _question(query: PanelQuery, expr: str, end: int) -> tuple[str, dict[str, str]]:
    if query.instant:
        return "api/v1/query", {"query": expr, "time": str(end)}
    times = {"start": end - HOURS * 3600, "end": end, "step": STEP}
    return "api/v1/query_range", {"query": expr} | {name: str(value) for name, value in times.items()}


def main() -> int:
    """Fill a day, ask everything, print the slowest; return 1 if a query takes longer than a second."""
    dashboards = read_dashboards()
    asked = queries_of(dashboards)
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
