"""What is measured of a run: the servers' memory and CPU from the kernel, everything else from the run's Prometheus."""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lab.running.server import Server
    from lab.scale.lab import ScaleLab

_LAG = "prosody_event_loop_lag_seconds"
_MESSAGES = 'synthetic_journey_seconds_bucket{{journey="message"}}'
_BY_NODE = {  # queries that give one figure for each node
    "loop_lag_p99": f"histogram_quantile(0.99, sum by (instance, le) (rate({_LAG}_bucket[{{window}}])))",
    "loop_lag_mean": f"rate({_LAG}_sum[{{window}}]) / rate({_LAG}_count[{{window}}])",
    "scrape_longest": 'max_over_time(scrape_duration_seconds{{job="prosody"}}[{window}])',
}
_PUSHES = "push_latency_ms_bucket"
_SHARES = (50, 95, 99)
_ALONE = {  # queries that give one figure
    **{
        f"synthetic_p{n}": f"histogram_quantile(0.{n}, sum by (le) (increase({_MESSAGES}[{{window}}])))"
        for n in _SHARES
    },
    **{
        f"push_p{n}": f"histogram_quantile(0.{n}, sum by (le) (increase({_PUSHES}[{{window}}]))) / 1000"
        for n in _SHARES
    },
    "synthetic_ok": 'sum(increase(synthetic_journeys_total{{journey="message",result="ok"}}[{window}]))',
    "synthetic_failed": 'sum(increase(synthetic_journeys_total{{journey="message",result!="ok"}}[{window}]))',
    "series": 'prometheus_tsdb_head_series{{job="prometheus"}}',
    "samples_a_second": 'sum(rate(prometheus_tsdb_head_samples_appended_total{{job="prometheus"}}[{window}]))',
    "rule_seconds": "sum(prometheus_rule_group_last_duration_seconds)",
    "database_connections": "sum(pg_stat_database_numbackends)",
}


@dataclass(frozen=True)
class Cost:
    """What a kind of server takes.

    Args:
        processes: how many there are.
        rss: bytes of memory.
        cpu: seconds of a core so far.
    """

    processes: int
    rss: int
    cpu: float


def costs(lab: ScaleLab) -> dict[str, Cost]:
    """Measure every server with its children, by kind: a name without its number or its node."""
    found: dict[str, list[psutil.Process]] = defaultdict(list)
    for server in lab.servers:
        if server.running:
            found[_kind(server)].append(psutil.Process(server.pid))
    return {kind: _sum(processes) for kind, processes in found.items()}


def _kind(server: Server) -> str:
    target = server.target
    name = type(server).__name__.lower()
    exporter = name in ("exporterprocess", "syntheticexporter", "thismachine")
    return f"{target.job} exporter" if exporter and target else name


def _sum(processes: list[psutil.Process]) -> Cost:
    rss, cpu = 0, 0.0
    for parent in processes:
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # PostgreSQL's helpers come and go
                memory, times = process.memory_full_info(), process.cpu_times()
                rss += memory.pss  # shared pages once: PostgreSQL's are most of its memory
                cpu += times.user + times.system
    return Cost(len(processes), rss, cpu)


@dataclass
class HaproxyTotals:
    """What all HAProxys say of themselves.

    Args:
        down: how many of them take a node for dead, by node.
        failures: how often one took a node for dead, by node.
        retries: connections to a node that were tried again.
        refused: answers 5xx.
        connections_a_second: now, of users.
    """

    down: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    refused: int = 0
    connections_a_second: int = 0


def door(lab: ScaleLab) -> HaproxyTotals:
    """Ask every HAProxy, by its socket and not through Prometheus."""
    found = HaproxyTotals()
    for haproxy in lab.haproxies:
        for row in csv.DictReader(haproxy.tell("show stat").removeprefix("# ").splitlines()):
            match row["pxname"], row["svname"]:
                case "wss_frontend", "FRONTEND":
                    found.connections_a_second += int(row["conn_rate"])
                case "prosody_ws", "BACKEND":
                    found.refused += int(row["hrsp_5xx"])
                case "prosody_ws", node:
                    found.down[node] += row["status"].startswith("DOWN")
                    found.failures[node] += int(row["chkdown"])
                    found.retries += int(row["wretr"])
    return found


def memory_of_nodes(lab: ScaleLab) -> dict[str, int]:
    """Return the resident bytes of each Prosody that runs, as the kernel counts them."""
    running = [node.prosody for node in lab.nodes if node.prosody.running]
    return {prosody.name: psutil.Process(prosody.pid).memory_info().rss for prosody in running}


def asked(lab: ScaleLab, seconds: float) -> dict[str, Any]:
    """Return what the run's Prometheus says of the last so many seconds; a figure that it does not know is None."""
    window = f"{max(round(seconds), 4 * lab.prometheus.interval)}s"
    figures: dict[str, Any] = {}
    for name, query in _ALONE.items():
        samples = lab.prometheus.query(query.format(window=window))
        figures[name] = _known(samples[0].value) if samples else None
    for name, query in _BY_NODE.items():
        samples = lab.prometheus.query(query.format(window=window))
        figures[name] = {sample.labels["instance"]: _known(sample.value) for sample in samples}
    return figures


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def sources(lab: ScaleLab, by_prosody: Mapping[str, int]) -> dict[str, float | None]:
    """Return how many sessions each source counts; None where it says nothing."""

    def one(query: str) -> float | None:
        samples = lab.prometheus.query(query)
        return samples[0].value if samples else None

    return {
        "Prosody's own list": float(sum(by_prosody.values())),
        "`prosody_c2s_sessions`": one("sum(prosody_c2s_sessions)"),
        "`prosody_c2s_hibernated_sessions`": one("sum(prosody_c2s_hibernated_sessions)"),
        "`haproxy_frontend_current_sessions`": one('sum(haproxy_frontend_current_sessions{proxy="wss_frontend"})'),
        "test users' sessions": one("sum(synthetic_session_up)"),
    }


def alerts(lab: ScaleLab, since: float, until: float) -> list[dict[str, Any]]:
    """Return every alert that fired: its labels, and from when to when, in seconds after `since`."""
    step = max(1, lab.prometheus.interval // 2)
    answer = lab.prometheus.api.client.ask(
        "api/v1/query_range",
        query='ALERTS{alertstate="firing",alertname!="Watchdog"}',
        start=f"{since:.3f}",
        end=f"{until:.3f}",
        step=f"{step}s",
    )
    found = []
    for series in answer["data"]["result"]:
        labels = {key: value for key, value in series["metric"].items() if key not in ("__name__", "alertstate")}
        times = [float(at) for at, _ in series["values"]]
        found.append({"labels": labels, "from": times[0] - since, "to": times[-1] - since})
    return sorted(found, key=lambda alert: float(alert["from"]))


def plain(costs: Mapping[str, Cost]) -> dict[str, dict[str, Any]]:
    """Return costs as they are written to a file."""
    return {kind: asdict(cost) for kind, cost in costs.items()}
