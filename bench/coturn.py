"""What the coturn exporter costs: a scrape at 100 to 4,000 allocations, and following a log of 1,000 lines a second.

It prints numbers and judges none. Takes about a minute and a half: `python -m bench.coturn`.
"""

from __future__ import annotations

import time
import urllib.request
from itertools import count, cycle, islice
from typing import TYPE_CHECKING

import psutil

from lab.running.server import Workspace
from lab.servers.coturn import Coturn
from lab.servers.exporters import ExporterProcess
from lab.users.turn import Allocations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

_HELD = (100, 1000, 4000)
_SCRAPES = 200
_SCRAPE_INTERVAL = 15.0  # seconds, Prometheus' for coturn
_LINES_A_SECOND = 1000
_SECONDS = 30
_CALL = (  # what one call leaves in the log, about 20 lines in all
    "session {id:018}: realm <commeazy.com> user <>: incoming packet message processed, error 401: Unauthorized",
    "IPv4. Local relay addr: 127.0.0.1:24694",
    "session {id:018}: new, realm=<commeazy.com>, username=<{id}:amy>, lifetime=600, cipher=ECDHE, method=TLSv1.2",
    "session {id:018}: realm <commeazy.com> user <{id}:amy>: incoming packet ALLOCATE processed, success",
    *("session {id:018}: peer 127.0.0.1:23481 lifetime updated: 600",) * 5,
    *("session {id:018}: realm <commeazy.com> user <{id}:amy>: incoming packet CHANNEL_BIND processed, success",) * 5,
    "session {id:018}: refreshed, realm=<commeazy.com>, username=<{id}:amy>, lifetime=0",
    "session {id:018}: realm <commeazy.com> user <{id}:amy>: incoming packet REFRESH processed, success",
    "session {id:018}: usage: realm=<commeazy.com>, username=<{id}:amy>, rp=14, rb=1612, sp=14, sb=1236",
    "session {id:018}: peer usage: realm=<commeazy.com>, username=<{id}:amy>, rp=3, rb=300, sp=3, sb=300",
    "session {id:018}: closed (2nd stage), user <{id}:amy> realm <commeazy.com> origin <>, local a, remote b, reason",
    "session {id:018}: delete: realm=<commeazy.com>, username=<{id}:amy>",
)


def main() -> None:
    """Measure, and print."""
    with Workspace() as lab:
        coturn = Coturn(lab, config="total-quota=5000\nsimple-log\ncli-password=bench")
        exporter = ExporterProcess(lab, "coturn", "turn1", lambda: [f"--coturn.config={coturn.config_file}"])
        coturn.start()
        exporter.start()
        _scrapes(coturn, exporter, psutil.Process(exporter.pid))
        exporter.restart()
        _log(coturn, exporter, psutil.Process(exporter.pid))


def _scrapes(coturn: Coturn, exporter: ExporterProcess, process: psutil.Process) -> None:
    print(f"CPU of the exporter per scrape, mean of {_SCRAPES} (sources: CLI, relay ports, log):")
    first = 0.0
    with Allocations(coturn) as allocations:
        for held in _HELD:
            allocations.hold(held)
            _scrape(exporter)
            before = _cpu(process)
            for _ in range(_SCRAPES):
                _scrape(exporter)
            cost = (_cpu(process) - before) / _SCRAPES * 1000
            first = first or cost
            more = f", {(cost - first) / (held - _HELD[0]) * 1000:.2f} µs for each more" if cost != first else ""
            print(f"  {held:5} allocations: {cost:5.2f} ms{more}")


def _log(coturn: Coturn, exporter: ExporterProcess, process: psutil.Process) -> None:
    lines = _lines()
    with (coturn.log_folder / "turn.log").open("ab", buffering=0) as log:
        cost = _written(log, lines, exporter, process)
    memory = process.memory_info().rss / 1e6
    created = _scrape(exporter).partition('coturn_allocations_total{event="created"} ')[2].partition("\n")[0]
    print(f"Following {_LINES_A_SECOND} lines/s for {_SECONDS} s, with probes and scrapes every 15 s:")
    print(f"  {cost / _SECONDS * 100:.1f} % of a core; resident {memory:.1f} MB; {float(created):.0f} allocations seen")


def _written(log: IO[bytes], lines: Iterator[bytes], exporter: ExporterProcess, process: psutil.Process) -> float:
    """Write the lines at their pace; return the exporter's CPU seconds meanwhile."""
    before, began, scraped = _cpu(process), time.monotonic(), 0.0
    for tenth in range(1, _SECONDS * 10 + 1):
        log.write(b"".join(islice(lines, _LINES_A_SECOND // 10)))
        if tenth / 10 >= scraped + _SCRAPE_INTERVAL:
            scraped = tenth / 10
            _scrape(exporter)
        time.sleep(max(0.0, began + tenth / 10 - time.monotonic()))
    return _cpu(process) - before


def _lines() -> Iterator[bytes]:
    session = count(7_000_000)
    current = 0
    for position, line in cycle(enumerate(_CALL)):
        if position == 0:
            current = next(session)
        yield f"{current % 1000}: : {line.format(id=current)}\n".encode()


def _scrape(exporter: ExporterProcess) -> str:
    with urllib.request.urlopen(f"{exporter.url}/metrics") as answer:  # noqa: S310 - our own server
        return str(answer.read(), "utf-8")


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main()
