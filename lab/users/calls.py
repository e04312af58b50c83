"""Calls over the lab's coturn that come and go, for the demo: its own load tools, and phones that need no relay."""

from __future__ import annotations

import argparse
import itertools
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from lab.running.server import Server
from lab.users.turn import LoadTools
from toolkit import stun

if TYPE_CHECKING:
    import subprocess
    from types import FrameType

    from lab.servers.coturn import Coturn

TRANSPORTS = ("udp", "tcp", "tls")
CLIENTS = 3  # per round, which has one transport; each makes two allocations
MESSAGES = 250  # of each; the tool sends one every 20 ms, as audio does
BINDINGS = 15  # phones that only ask for their address, between the beginnings of two rounds
BINDING_EVERY = 0.2  # seconds; about one call in four then needs a relay, as Section 13 expects


class Calls(Server):
    """Relays something over UDP, TCP and TLS until it is stopped.

    Args:
        coturn: the relay; started before.
    """

    def __init__(self, coturn: Coturn) -> None:
        super().__init__(coturn.lab, "calls")
        self._coturn = coturn

    @property
    def address(self) -> str:
        """What it does: it has no port."""
        return f"{CLIENTS} callers each over UDP, TCP and TLS, and others without a relay, on {self._coturn.name}"

    def command(self) -> list[str]:
        """Run this module with the Python that runs the lab."""
        return [sys.executable, "-m", "lab.users.calls", str(self._coturn.port), str(self._coturn.tls_port)]

    def is_ready(self) -> bool:
        """Calls begin once the process runs; nothing waits for them."""
        return self.running


@dataclass(frozen=True)
class _Ports:
    port: int
    tls_port: int


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def _ask_for_own_address(port: int) -> None:
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=5) as client,
    ):  # it may be broken on purpose
        client.sendall(stun.encode(stun.Method.BINDING, [])[1])
        client.recv(1500)


def main() -> NoReturn:
    """Make calls until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("tls_port", type=int)
    args = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    with LoadTools(_Ports(args.port, args.tls_port)) as tools:
        rounds: deque[subprocess.Popen[str]] = deque()
        for transport in itertools.cycle(TRANSPORTS):
            rounds.append(tools.start(transport, CLIENTS, MESSAGES))
            for _ in range(BINDINGS):
                _ask_for_own_address(args.port)
                time.sleep(BINDING_EVERY)
            if len(rounds) == len(TRANSPORTS):
                rounds.popleft().communicate()
    raise AssertionError("unreachable")


if __name__ == "__main__":
    main()
