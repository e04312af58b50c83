"""What the rules cost one Prometheus that watches 10 and 100 Prosody nodes, and what follows for 1,000.

The nodes are one web server that answers what real exporters answered (tests/recorded/). Scrapes come five times as
often as in production, so that after two minutes a window holds as many samples as it does there after ten.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import yaml
from aiohttp import web

from tests.alerts.reality import RECORDED, SOURCES, contract
from tests.alerts.servers import free_port, get, running

SIZES: Final = (10, 100)
FASTER: Final = 5
SECONDS: Final = 125  # five times this is a window of 10m and a little
INTERVAL: Final = 15.0  # between evaluations in production, in seconds
FOLDER: Final = Path(__file__).parents[1] / "prometheus"


@dataclass(frozen=True)
class Result:
    """What one size cost: seconds by rule group, bytes, and how much it was."""

    nodes: int
    series: float
    series_per_node: float
    evaluation: dict[str, float]
    resident: int


def page(job: str) -> str:
    """Give what a target of this job answers: its newest recording, or the contract's series where there is none."""
    recordings = [RECORDED / f"{name}.prom" for name in SOURCES[job] if (RECORDED / f"{name}.prom").exists()]
    if recordings:
        return recordings[-1].read_text(encoding="utf-8")
    return "".join(_sample(name, labels) for name, sets in contract(job).items() for labels in sets)


def _sample(name: str, labels: dict[str, str]) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{inside}}} 1\n"


def targets(nodes: int, port: int) -> dict[str, list[dict[str, object]]]:
    """Give every job's target file: a Prosody and a gateway on each node, and around them what such a size needs."""
    count = {"haproxy": 2, "postgresql": 1, "coturn": max(3, nodes // 3), "certificates": 1}
    instances = {job: [f"{job}{number + 1}" for number in range(many)] for job, many in count.items()}
    instances |= {job: [f"prosody{number + 1}" for number in range(nodes)] for job in ("prosody", "push-gateway")}
    return {
        job: [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name, "__metrics_path__": f"/{job}/{name}"}}
            for name in names
        ]
        for job, names in instances.items()
    }


async def _serve(port: int) -> web.AppRunner:
    pages = {job: page(job) for job in SOURCES}

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=pages[request.match_info["job"]])

    app = web.Application()
    app.router.add_get("/{job}/{node}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


def _prepare(folder: Path, nodes: int, port: int) -> Path:
    """Copy the operator's folder and point it at the simulated nodes, five times as fast."""
    shutil.copytree(FOLDER, folder / "prometheus")
    path = folder / "prometheus" / "prometheus.yml"
    config = yaml.safe_load(path.read_text())
    for job in config["scrape_configs"]:
        seconds = {"15s": 15, "30s": 30, "1m": 60}[job["scrape_interval"]]
        job["scrape_interval"] = f"{seconds // FASTER}s"
        job.pop("scrape_timeout", None)
    config["global"] |= {"evaluation_interval": f"{INTERVAL / FASTER:.0f}s", "scrape_interval": "6s"}
    path.write_text(yaml.safe_dump(config))
    everyone = targets(nodes, port)
    for file in (folder / "prometheus" / "targets").glob("*.yml"):
        file.write_text(yaml.safe_dump(everyone.get(file.stem, [])))
    return path


async def measure(nodes: int) -> Result:
    """Run one Prometheus on so many nodes; return what it cost."""
    with tempfile.TemporaryDirectory() as name:
        folder, port, served = Path(name), free_port(), free_port()
        runner = await _serve(served)
        url = f"http://127.0.0.1:{port}"
        flags = [f"--config.file={_prepare(folder, nodes, served)}", f"--storage.tsdb.path={folder / 'data'}"]
        command = ["prometheus", *flags, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
        try:
            return await asyncio.to_thread(_watch, command, url, folder / "log", nodes)
        finally:
            await runner.cleanup()


def _watch(command: list[str], url: str, log: Path, nodes: int) -> Result:
    with running(command, f"{url}/-/ready", log) as process:
        took: dict[str, list[float]] = {}
        time.sleep(SECONDS - 30)
        for _ in range(10):
            time.sleep(INTERVAL / FASTER)
            for group in get(f"{url}/api/v1/rules")["data"]["groups"]:
                took.setdefault(group["name"], []).append(group["evaluationTime"])
        series = _number(url, 'count({__name__=~".+"})')
        own = _number(url, 'count({__name__=~".+",instance="prosody1"})')
        resident = psutil.Process(process.pid).memory_info().rss
        sick = [rule["name"] for group in get(f"{url}/api/v1/rules")["data"]["groups"] for rule in group["rules"]
                if rule["health"] != "ok"]  # fmt: skip
        assert not sick, sick
    return Result(nodes, series, own, {name: statistics.median(times) for name, times in took.items()}, resident)


def _number(url: str, query: str) -> float:
    answer = get(f"{url}/api/v1/query?query={query.replace('+', '%2B')}")["data"]["result"]
    return float(answer[0]["value"][1])


def main() -> int:
    """Measure both sizes, print them, and what a straight line through them says of 1,000 nodes."""
    results = [asyncio.run(measure(nodes)) for nodes in SIZES]
    for result in results:
        total = sum(result.evaluation.values())
        print(f"\n{result.nodes} nodes: {result.series_per_node:.0f} series a node, {result.series:,.0f} in all")
        print(f"  resident memory of Prometheus   {result.resident / 2**20:7.0f} MiB")
        for name, seconds in sorted(result.evaluation.items()):
            print(f"  rule group {name:<20} {seconds * 1000:7.2f} ms")
        print(f"  all groups                      {total * 1000:7.2f} ms, {total / INTERVAL:.2%} of their interval")
    small, large = results
    grown = 1000 - large.nodes
    per_node = (sum(large.evaluation.values()) - sum(small.evaluation.values())) / (large.nodes - small.nodes)
    evaluation = sum(large.evaluation.values()) + grown * per_node
    memory = large.resident + grown * (large.resident - small.resident) / (large.nodes - small.nodes)
    series = 1000 * large.series_per_node
    print(f"\n1,000 nodes, by a straight line: {series:,.0f} series, at most {series / INTERVAL:,.0f} samples a second")
    print(f"  rules {evaluation * 1000:.0f} ms, {evaluation / INTERVAL:.1%} of their interval")
    print(f"  memory {memory / 2**30:.1f} GiB")
    print("  For more than one Prometheus can hold: prometheus/sharding; for longer history: prometheus/remote-write.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
