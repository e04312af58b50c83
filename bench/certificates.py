"""What the certificate exporter costs with 10 and with 1,000 targets, and how that grows. It asserts nothing.

One HAProxy serves a certificate of its own for every name, by SNI.
"""

from __future__ import annotations

import re
import time
import urllib.request
from dataclasses import dataclass

import psutil

from lab.running.server import Workspace
from lab.servers.certified import Haproxy
from lab.servers.exporters import Exporter
from lab.servers.pki import Authority

_COUNTS = (10, 1000)
_INTERVAL = 20  # seconds; the default is 60
_LAST_PROBE = re.compile(r"^ssl_certificate_last_probe_timestamp_seconds\{.*\} (\S+)$", re.MULTILINE)


class ManyNames(Haproxy):
    """HAProxy with a certificate per name.

    Args:
        lab: where it runs.
        root: who issues them.
        names: how many, `t0.example` and so on.
    """

    def __init__(self, lab: Workspace, root: Authority, names: int) -> None:
        super().__init__(lab)
        intermediate = Authority("Intermediate", root)
        self.certificate.mkdir()
        for number in range(names):
            issued = intermediate.issue(f"t{number}.example")
            (self.certificate / f"{number}.pem").write_bytes(issued.key_pem + issued.chain_pem)


@dataclass(frozen=True)
class Cost:
    """One run: CPU in seconds, memory in bytes."""

    targets: int
    probed: int
    first_round: float
    interval: float
    memory: int
    scrape: float
    page: int


def measure(targets: int) -> Cost:
    """Let the exporter look at so many targets, and measure one whole interval after the first."""
    with Workspace() as lab:
        root = Authority("Root")
        (lab.directory / "root.pem").write_bytes(root.pem)
        server = ManyNames(lab, root, targets)
        server.start()
        config = lab.directory / "certificates.yml"
        line = "  - {{name: t{0}, kind: tls, address: '127.0.0.1:{1}', server_name: t{0}.example, ca: root.pem}}\n"
        lines = "".join(line.format(number, server.tls_port) for number in range(targets))
        config.write_text(f"targets:\n{lines}")
        flags = [f"--config.file={config}", f"--probe.interval={_INTERVAL}s"]
        exporter = Exporter(lab, "certificates", "node1", lambda: flags)
        exporter.start()
        process = psutil.Process(exporter.pid)
        while len(_LAST_PROBE.findall(_page(exporter))) < targets:
            time.sleep(0.5)
        first_round = _cpu(process)
        time.sleep(_INTERVAL)  # the second probe of each finds a moment of its own
        before, began = _cpu(process), time.time()
        time.sleep(_INTERVAL * 1.1)  # the jitter's longest pause
        spent = (_cpu(process) - before) / 1.1
        asked = time.perf_counter()
        page = _page(exporter)
        scrape = time.perf_counter() - asked
        probed = sum(float(moment) >= began for moment in _LAST_PROBE.findall(page))
        succeeded = page.count("ssl_certificate_probe_success{") == page.count('probe_info{reason="ok"') == targets
        assert succeeded, "every probe succeeds"
        return Cost(targets, probed, first_round, spent, process.memory_info().rss, scrape, len(page))


def _page(exporter: Exporter) -> str:
    with urllib.request.urlopen(f"{exporter.url}/metrics", timeout=30) as answer:  # noqa: S310 - our own server
        text: str = answer.read().decode()
    return text


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    """Print the table."""
    print(f"Certificate exporter, --probe.interval={_INTERVAL}s, TLS on one HAProxy, a certificate per target")
    print("targets  probed in one interval  CPU start + first round  CPU per interval  of a core  memory  scrape  page")
    costs = [measure(count) for count in _COUNTS]
    for cost in costs:
        print(
            f"{cost.targets:7}  {cost.probed:22}  {cost.first_round:21.2f} s  {cost.interval:14.3f} s"
            f"  {cost.interval / _INTERVAL:9.2%}  {cost.memory / 1e6:3.0f} MB  {cost.scrape * 1e3:3.0f} ms"
            f"  {cost.page / 1e3:.0f} kB"
        )
    few, many = costs
    more = many.targets - few.targets
    print(
        f"One target more costs {(many.interval - few.interval) / more * 1e3:.2f} ms of CPU per interval"
        f" and {(many.memory - few.memory) / more / 1e3:.1f} kB of memory."
    )


if __name__ == "__main__":
    main()
