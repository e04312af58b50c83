"""What the rules cost one Prometheus that watches 10 and 100 Prosody nodes, with 100 hosts more, and 1,000 nodes.

The nodes are one web server that answers what real exporters answered (tests/recorded/). Scrapes come five times as
often as in production, so that after two minutes a window holds as many samples as it does there after ten.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import psutil
import yaml
from aiohttp import web

from lab.fakes.recordings import FOLDER, SOURCES
from lab.running.server import Workspace
from lab.servers.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES: Final = ((10, 0), (100, 0), (100, 100))  # Prosody nodes, and hosts with a node exporter
FASTER: Final = 5
SECONDS: Final = 125  # five times this is a window of 10m and a little
INTERVAL: Final = 15.0  # between evaluations in production, in seconds


@dataclass(frozen=True)
class Cost:
    """What one size cost: seconds by rule group, bytes, and how much it was."""

    nodes: int
    hosts: int
    series: float
    series_per_node: float
    evaluation: dict[str, float]
    resident: int


def page(job: str) -> str:
    """Return what a target of this job answers: its newest recording."""
    return (FOLDER / f"{SOURCES[job][-1]}.prom").read_text(encoding="utf-8")


def targets(nodes: int, port: int, hosts: int = 0) -> dict[str, list[dict[str, object]]]:
    """Give every job's target file: a Prosody and a gateway on each node, around them what such a size needs, hosts."""
    one = dict.fromkeys(("postgresql", "certificates", "synthetic", "prometheus", "alertmanager"), 1)
    count = {"haproxy": 2, "coturn": max(3, nodes // 3), **one}
    instances = {job: [f"{job}{number + 1}" for number in range(many)] for job, many in count.items()}
    instances |= {job: [f"prosody{number + 1}" for number in range(nodes)] for job in ("prosody", "push-gateway")}
    instances["node"] = [f"prosody{number + 1}" for number in range(hosts)]
    return {
        job: [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name, "__metrics_path__": f"/{job}/{name}"}}
            for name in names
        ]
        for job, names in instances.items()
    }


class Simulated(Prometheus):
    """A Prometheus that scrapes simulated nodes, five times as often as in production.

    Args:
        lab: where it runs.
        nodes: how many Prosody nodes.
        hosts: how many of them have a node exporter.
        served: the port that plays all of them.
    """

    def __init__(self, lab: Workspace, nodes: int, hosts: int, served: int) -> None:
        super().__init__(lab)
        self._targets = targets(nodes, served, hosts)

    def configured(self, config: dict[str, Any]) -> dict[str, Any]:
        """Divide every interval."""
        for job in config["scrape_configs"]:
            seconds = {"15s": 15, "30s": 30, "1m": 60}[job["scrape_interval"]]
            job["scrape_interval"] = f"{seconds // FASTER}s"
            job.pop("scrape_timeout", None)
        config["global"] |= {"evaluation_interval": f"{INTERVAL / FASTER:.0f}s", "scrape_interval": "6s"}
        return config

    def write_targets(self) -> None:
        """Name the simulated nodes."""
        for file in (self.directory / "targets").glob("*.yml"):
            file.write_text(yaml.safe_dump(self._targets.get(file.stem, [])))


@contextmanager
def _serving(port: int) -> Iterator[None]:
    """Answer as every node, in a thread of its own: the lab starts servers from the main thread."""
    pages = {job: page(job) for job in SOURCES}
    loop = asyncio.new_event_loop()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=pages[request.match_info["job"]])

    async def serve() -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{job}/{node}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        return runner

    runner = loop.run_until_complete(serve())
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def measure(nodes: int, hosts: int) -> Cost:
    """Run one Prometheus on so many nodes and hosts; return what it cost."""
    with Workspace() as lab:
        served = lab.ports.reserve()
        prometheus = Simulated(lab, nodes, hosts, served)
        with _serving(served):
            prometheus.start()
            took: dict[str, list[float]] = {}
            time.sleep(SECONDS - 30)
            for _ in range(10):
                time.sleep(INTERVAL / FASTER)
                for group in _groups(prometheus):
                    took.setdefault(group["name"], []).append(group["evaluationTime"])
            (series,) = prometheus.query('count({__name__=~".+"})')
            (own,) = prometheus.query('count({__name__=~".+",instance="prosody1"})')
            resident = psutil.Process(prometheus.pid).memory_info().rss
            failing = [
                rule["name"] for group in _groups(prometheus) for rule in group["rules"] if rule["health"] != "ok"
            ]
            assert not failing, failing
    evaluation = {name: statistics.median(times) for name, times in took.items()}
    return Cost(nodes, hosts, series.value, own.value, evaluation, resident)


def _groups(prometheus: Prometheus) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = prometheus.api.client.ask("api/v1/rules")["data"]["groups"]
    return groups


def main() -> int:
    """Measure all sizes, print them, what hosts add, and what a straight line says of 1,000 nodes."""
    results = [measure(*size) for size in SIZES]
    for result in results:
        total = sum(result.evaluation.values())
        print(
            f"\n{result.nodes} nodes, {result.hosts} node exporters: {result.series_per_node:.0f} series a node, "
            f"{result.series:,.0f} in all"
        )
        print(f"  resident memory of Prometheus   {result.resident / 2**20:7.0f} MiB")
        for name, seconds in sorted(result.evaluation.items()):
            print(f"  rule group {name:<20} {seconds * 1000:7.2f} ms")
        print(f"  all groups                      {total * 1000:7.2f} ms, {total / INTERVAL:.2%} of their interval")
    small, large, hosts = results
    grown = 1000 - large.nodes
    per_node = (sum(large.evaluation.values()) - sum(small.evaluation.values())) / (large.nodes - small.nodes)
    evaluation = sum(large.evaluation.values()) + grown * per_node
    memory = large.resident + grown * (large.resident - small.resident) / (large.nodes - small.nodes)
    series = 1000 * large.series_per_node
    print(f"\n1,000 nodes, by a straight line: {series:,.0f} series, at most {series / INTERVAL:,.0f} samples a second")
    print(f"  rules {evaluation * 1000:.0f} ms, {evaluation / INTERVAL:.1%} of their interval")
    print(f"  memory {memory / 2**30:.1f} GiB")
    more = hosts.series - large.series
    rules = sum(hosts.evaluation.values()) - sum(large.evaluation.values())
    print(f"\n{hosts.hosts} hosts more: {more:,.0f} series, at most {more / INTERVAL:,.0f} samples a second")
    print(f"  rules {rules * 1000:.0f} ms, {rules / INTERVAL:.1%} of their interval")
    print(f"  memory {(hosts.resident - large.resident) / 2**20:.0f} MiB")
    print("  For more than one Prometheus can hold, and for longer history: the variants in prometheus/README.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
