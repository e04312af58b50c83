"""Calls over the lab's coturn that come and go, for the demo: coturn's own load tools, one round after the other."""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from lab.server import Server
from lab.turn import LoadTools

if TYPE_CHECKING:
    from types import FrameType

    from lab.coturn import Coturn

CLIENTS = 3  # per transport and round
MESSAGES = 250  # of each; the tool sends one every 20 ms, as audio does


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
        """What it does, for want of a port."""
        return f"{CLIENTS} callers each over UDP, TCP and TLS on {self._coturn.name}"

    def command(self) -> list[str]:
        """Run this module with the Python that runs the lab."""
        return [sys.executable, "-m", "lab.calls", str(self._coturn.port), str(self._coturn.tls_port)]

    def is_ready(self) -> bool:
        """Calls begin once the process runs; nothing waits for them."""
        return self.running


@dataclass(frozen=True)
class _Ports:
    port: int
    tls_port: int


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def main() -> NoReturn:
    """Make calls until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("tls_port", type=int)
    args = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    with LoadTools(_Ports(args.port, args.tls_port)) as tools:
        for _ in itertools.count():
            for round_ in [tools.start(transport, CLIENTS, MESSAGES) for transport in ("udp", "tcp", "tls")]:
                round_.communicate()
    raise AssertionError("unreachable")


if __name__ == "__main__":
    main()
