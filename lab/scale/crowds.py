"""The processes that hold the users: starts them, gives them orders, and puts their reports together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from lab.running.server import ending_with_us
from lab.running.workspace import ROOT, LabError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PER_PROCESS = 12_500  # users; each is a descriptor, and a process has 20,000 where nobody allowed it more
_PER_ADDRESS = 50  # users who come from one address, as those of a household or an office do
_PROCESSES = 2  # at least: one for each core


@dataclass(frozen=True)
class Entrance:
    """Where users connect.

    Args:
        domain: of their accounts.
        doors: host and port of each way in.
        path: of the WebSocket.
        server_name: that its certificate must have.
        ca: file with the trusted authority; None for the system's, "" for a door without TLS.
        loopback: whether users may come from many addresses of this machine.
    """

    domain: str
    doors: Sequence[tuple[str, int]]
    path: str
    server_name: str
    ca: str | None
    loopback: bool


@dataclass
class Totals:
    """What all users did.

    Args:
        phases: how many are "open", "asleep", "out" and so on.
        counts: what happened since it was last forgotten.
        message_seconds: how long messages took.
        login_seconds: how long logins took.
        rss: bytes of all processes.
        cpu: seconds of all processes.
    """

    phases: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    message_seconds: list[float] = field(default_factory=list)
    login_seconds: list[float] = field(default_factory=list)
    rss: int = 0
    cpu: float = 0.0


class Crowds:
    """All users.

    Args:
        place: where they connect.
        accounts: name and password of each.
        asleep: the share of phones without a connection, which only a push reaches.
        log: gets what the processes complain about.
    """

    def __init__(self, place: Entrance, accounts: Sequence[tuple[str, str]], asleep: float, log: Path) -> None:
        self._place = place
        self._accounts = accounts
        self._asleep = asleep
        self._log = log
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        """Start the processes; nobody logs in yet."""
        size = min(_PER_PROCESS, -(-len(self._accounts) // _PROCESSES))
        shares = [self._accounts[first : first + size] for first in range(0, len(self._accounts), size)]
        with self._log.open("ab") as log:
            for number, share in enumerate(shares):
                process = subprocess.Popen(
                    [*ending_with_us(), sys.executable, "-m", "lab.scale.crowd"],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
                self._processes.append(process)
                self._tell(process, self._setting(number, share))
        for process in self._processes:
            self._hear(process)
        return self

    def __exit__(self, *_: object) -> None:
        """End them, and every connection with them."""
        for process in self._processes:
            process.kill()
            process.communicate()

    def _setting(self, number: int, share: Sequence[tuple[str, str]]) -> dict[str, Any]:
        place = self._place
        addresses = [
            (_address(number, first // _PER_ADDRESS) if place.loopback else "", share[first : first + _PER_ADDRESS])
            for first in range(0, len(share), _PER_ADDRESS)
        ]
        return {
            "domain": place.domain,
            "path": place.path,
            "server_name": place.server_name,
            "ca": place.ca,
            "doors": place.doors,
            "addresses": addresses,
            "asleep": self._asleep,
        }

    def order(self, do: str, **values: float) -> list[dict[str, Any]]:
        """Give every process an order; a rate is shared among them. Raises LabError if one is gone."""
        shared = {key: value / len(self._processes) for key, value in values.items()}
        for process in self._processes:
            self._tell(process, {"do": do, **shared})
        return [self._hear(process) for process in self._processes]

    def look(self) -> Totals:
        """Return the phases and what happened, without times and costs: cheap enough for each second."""
        totals = Totals()
        for report in self.order("look"):
            totals.phases.update(report["phases"])
            totals.counts.update(report["counts"])
        return totals

    def totals(self) -> Totals:
        """Return what all of them report."""
        totals = Totals()
        for report in self.order("report"):
            totals.phases.update(report["phases"])
            totals.counts.update(report["counts"])
            totals.message_seconds += report["message_seconds"]
            totals.login_seconds += report["login_seconds"]
            totals.rss += report["rss"]
            totals.cpu += report["cpu"]
        return totals

    def _tell(self, process: subprocess.Popen[str], order: dict[str, Any]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        except OSError:
            raise LabError(f"a process of users ended; it said:\n{self._log.read_text()[-2000:]}") from None

    def _hear(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise LabError(f"a process of users ended; it said:\n{self._log.read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _address(process: int, number: int) -> str:
    """Return an address of this machine that no other group of users has."""
    return f"127.{process + 1}.{number // 250}.{number % 250 + 1}"


def quantile(share: float, seconds: Sequence[float]) -> float | None:
    """Return a quantile of measured times; None of none."""
    return sorted(seconds)[min(int(share * len(seconds)), len(seconds) - 1)] if seconds else None
