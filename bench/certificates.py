"""What the certificate exporter costs with 10 and with 1,000 targets, how that grows, and against blackbox_exporter.

One HAProxy serves a certificate of its own for every name, by SNI. It asserts nothing.
"""

from __future__ import annotations

import os
import re
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from lab.running.programs import program
from lab.running.server import WebServer, Workspace, http_answers
from lab.running.workspace import LabError
from lab.servers.certified import CertifiedHaproxy
from lab.servers.exporters import ExporterProcess
from lab.servers.pki import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator

_COUNTS = (10, 1000)
_INTERVAL = 20  # seconds; the default is 60
_FEW, _ROUND, _SECONDS = 10, 0.2, 20.0  # targets, seconds between two probes of one, and of the comparison
_REPEATS = 3
_MODULE = """  t{0}:
    prober: tcp
    timeout: 5s
    tcp: {{tls: true, tls_config: {{ca_file: {1}, server_name: t{0}.example}}}}
"""
_LAST_PROBE = re.compile(r"^ssl_certificate_last_probe_timestamp_seconds\{.*\} (\S+)$", re.MULTILINE)


class ManyNames(CertifiedHaproxy):
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


class Blackbox(WebServer):
    """blackbox_exporter with these modules, as text."""

    def __init__(self, lab: Workspace, modules: str) -> None:
        super().__init__(lab, "blackbox")
        self._modules = modules

    def prepare(self) -> None:
        """Write its configuration."""
        (self.directory / "blackbox.yml").write_text(f"modules:\n{self._modules}")

    def command(self) -> list[str]:
        """Run the installed one."""
        blackbox = program("blackbox_exporter", "prometheus-blackbox-exporter")
        return [blackbox, f"--config.file={self.directory}/blackbox.yml", f"--web.listen-address=127.0.0.1:{self.port}"]

    def is_ready(self) -> bool:
        """Tell whether its pages are there."""
        return http_answers(self.url)


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
        exporter = ExporterProcess(lab, "certificates", "node1", lambda: flags)
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


def _page(exporter: ExporterProcess) -> str:
    with urllib.request.urlopen(f"{exporter.url}/metrics", timeout=30) as answer:  # noqa: S310 - our own server
        text: str = answer.read().decode()
    return text


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def against_blackbox() -> Iterator[tuple[float, float, int]]:
    """Let both look at ten unchanged chains for a while, in turn and at the same pace; each time is one result.

    Yields the CPU seconds of one probe of each, and our memory in bytes. Ours probes by itself and is scraped once a
    round; theirs probes when it is scraped, once for each target.
    """
    with Workspace() as lab:
        root = Authority("Root")
        (lab.directory / "root.pem").write_bytes(root.pem)
        server = ManyNames(lab, root, _FEW)
        server.start()
        config = lab.directory / "certificates.yml"
        line = "  - {{name: t{0}, kind: tls, address: '127.0.0.1:{1}', server_name: t{0}.example, ca: root.pem}}\n"
        config.write_text("targets:\n" + "".join(line.format(number, server.tls_port) for number in range(_FEW)))
        flags = [f"--config.file={config}", f"--probe.interval={_ROUND * 1000:.0f}ms"]
        exporter = ExporterProcess(lab, "certificates", "node1", lambda: flags)
        blackbox = Blackbox(lab, "".join(_MODULE.format(number, lab.directory / "root.pem") for number in range(_FEW)))
        for _ in range(_REPEATS):
            exporter.start()
            ours = _ours(exporter)
            memory = psutil.Process(exporter.pid).memory_info().rss
            exporter.stop()
            blackbox.start()
            theirs = _theirs(blackbox, server.tls_port)
            blackbox.stop()
            yield ours, theirs, memory


def _ours(exporter: ExporterProcess) -> float:
    process = psutil.Process(exporter.pid)
    time.sleep(5)  # the first round, and the hourly look for old TLS
    before = _cpu(process)
    for _ in _paced(_ROUND):
        _page(exporter)
    return (_cpu(process) - before) / (_SECONDS / _ROUND * _FEW)


def _theirs(blackbox: Blackbox, tls_port: int) -> float:
    process = psutil.Process(blackbox.pid)
    before, probes = _cpu(process), 0
    for probes in _paced(_ROUND / _FEW):
        url = f"{blackbox.url}/probe?module=t{probes % _FEW}&target=127.0.0.1:{tls_port}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own server
            text = answer.read().decode()
        assert "probe_success 1" in text, text
    return (_cpu(process) - before) / probes


def _paced(pause: float) -> Iterator[int]:
    """Count from 1, a step each `pause` seconds, for a while."""
    began = time.monotonic()
    for number in range(1, round(_SECONDS / pause) + 1):
        yield number
        time.sleep(max(0.0, began + number * pause - time.monotonic()))


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
    print(f"A probe of a chain that has not changed, {_FEW} targets, {_FEW / _ROUND:.0f} probes a second:")
    try:
        for ours, theirs, memory in against_blackbox():
            print(
                f"{ours * 1e3:.2f} ms of CPU, blackbox_exporter {theirs * 1e3:.2f} ms, ratio {ours / theirs:.2f};"
                f" memory {memory / 1e6:.0f} MB; load average {os.getloadavg()[0]:.1f}"
            )
    except LabError as error:
        print(error)


if __name__ == "__main__":
    main()
