"""The traffic generator as one of the lab's servers; what its users do is told in `lab.traffic`."""

from __future__ import annotations

import sys

from lab.prosody import DOMAIN, Prosody
from lab.server import Server


class Generator(Server):
    """Keeps users busy on a Prosody until it is stopped.

    Args:
        prosody: the server they use; started before.
        users: how many.
        sleepers: how many more have registered their phones for pushes and are offline.
        door: where they connect over WebSocket; the server itself unless given.
    """

    def __init__(self, prosody: Prosody, users: int, *, sleepers: int = 0, door: str | None = None) -> None:
        super().__init__(prosody.lab, "traffic")
        self._prosody = prosody
        self._users = users
        self._sleepers = sleepers
        self._door = door or prosody.websocket_url

    @property
    def address(self) -> str:
        """What it does, for want of a port."""
        return f"{self._users} users on {self._prosody.name}"

    def command(self) -> list[str]:
        """Run the generator with the Python that runs the lab."""
        return [
            *(sys.executable, "-m", "lab.traffic"),
            *("--domain", DOMAIN),
            *("--websocket-url", self._door),
            *("--tcp-address", f"127.0.0.1:{self._prosody.c2s_port}"),
            *("--tls-ca", str(self.lab.directory / "ca.pem")),
            *("--admin-socket", str(self._prosody.admin_socket)),
            *("--users", str(self._users)),
            *("--sleepers", str(self._sleepers)),
        ]

    def is_ready(self) -> bool:
        """It serves nobody, so running is all there is to wait for."""
        return self.running
