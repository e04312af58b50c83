"""What the synthetic users cost at an operator's intervals: the exporter, and each Prosody's share. Asserts nothing.

`python -m bench.synthetic` measures two nodes behind HAProxy, over TLS, and then five that are reached without.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from types import MappingProxyType

import psutil

from exporters.synthetic.config import INTERVALS
from lab.running.server import Workspace
from lab.servers.coturn import Coturn
from lab.servers.exporters import SyntheticExporter
from lab.servers.haproxy import Haproxy
from lab.servers.prosody import Prosody

_DEFAULTS = MappingProxyType({key: f"{seconds:g}s" for key, (seconds, _, _) in INTERVALS.items()})
_IDLE, _SECONDS = 20.0, 120.0


def measure(nodes: int) -> None:
    """Let the test users of so many nodes do their journeys for a while; print what that took."""
    with Workspace() as lab:
        prosodies = [Prosody(lab, f"prosody{number + 1}") for number in range(nodes)]
        haproxy, coturn = Haproxy(lab, prosodies[:3]), Coturn(lab)
        doors = None if nodes <= len(prosodies[:3]) else {one.name: one.websocket_url for one in prosodies}
        exporter = SyntheticExporter(prosodies, haproxy, coturn, _DEFAULTS, doors=doors)
        for server in (*prosodies, *([haproxy] if doors is None else []), coturn):
            server.start()
        servers = [psutil.Process(prosody.pid) for prosody in prosodies]
        before = sum(map(_cpu, servers))
        time.sleep(_IDLE)
        idle = (sum(map(_cpu, servers)) - before) / _IDLE
        exporter.start()
        process = psutil.Process(exporter.pid)
        time.sleep(_IDLE)  # everybody logs in
        own, theirs = _cpu(process), sum(map(_cpu, servers))
        time.sleep(_SECONDS)
        own, theirs = (_cpu(process) - own) / _SECONDS, (sum(map(_cpu, servers)) - theirs) / _SECONDS
        began = time.perf_counter()
        with urllib.request.urlopen(f"{exporter.url}/metrics", timeout=30) as answer:  # noqa: S310 - our own server
            page: str = answer.read().decode()
        scrape = time.perf_counter() - began
        series = sum(not line.startswith("#") for line in page.splitlines())
        print(
            f"{nodes} nodes {'behind HAProxy' if doors is None else 'without TLS'}: "
            f"exporter {own:.2%} of a core, {process.memory_info().rss / 1e6:.0f} MB; "
            f"each Prosody {(theirs - idle) / nodes:.2%} of a core more than idle ({idle / nodes:.2%}); "
            f"{series} series, {len(page) / 1000:.0f} kB, scraped in {scrape * 1000:.0f} ms",
            flush=True,
        )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> int:
    """Measure two nodes, then five, or as many as the arguments say."""
    for nodes in [int(text) for text in sys.argv[1:]] or [2, 5]:
        measure(nodes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
