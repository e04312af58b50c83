"""The traffic generator as one of the lab's servers; what its users do is in `lab.users.wander`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lab.running.server import Server
from lab.servers.prosody import DOMAIN, Prosody

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.fakes.providers import Providers

_ADDRESSES = 8  # of 127.0.0.0/8 that users come from: HAProxy chooses a Prosody by the address


class Generator(Server):
    """Keeps users busy until it is stopped.

    Args:
        prosodies: the servers they use; started before. Accounts are made on the first, and TCP users use it.
        users: how many.
        sleepers: how many more have registered their phones for pushes and are offline.
        providers: what they deliver wakes the sleepers' phones; started before. Without them no phone wakes.
        door: where they connect over WebSocket; the first server itself unless given.
        name: unique in the lab.

    Attributes:
        rate: things they do a second, all together; set it before the start.
        apart: whether a sleeper gets either calls or messages; likewise.
        within: seconds in which the users come; likewise.
    """

    rate = 5.0
    apart = False
    within = 2.0

    def __init__(  # noqa: PLR0913 - a crowd, and what it meets
        self,
        prosodies: Sequence[Prosody],
        users: int,
        *,
        sleepers: int = 0,
        providers: Providers | None = None,
        door: str | None = None,
        name: str = "traffic",
    ) -> None:
        super().__init__(prosodies[0].lab, name)
        self._prosodies = prosodies
        self._prosody = prosodies[0]
        self._users = users
        self._sleepers = sleepers
        self._providers = providers
        self._door = door or self._prosody.websocket_url

    @property
    def address(self) -> str:
        """What it does: it has no port."""
        return f"{self._users} users on {', '.join(prosody.name for prosody in self._prosodies)}"

    def command(self) -> list[str]:
        """Run the generator with the Python that runs the lab."""
        return [
            *(sys.executable, "-m", "lab.users.wander"),
            *("--domain", DOMAIN),
            *("--websocket-url", self._door),
            *("--tcp-address", f"127.0.0.1:{self._prosody.c2s_port}"),
            *("--tls-ca", str(self.lab.directory / "ca.pem")),
            *("--admin-socket", str(self._prosody.admin_socket)),
            *("--users", str(self._users)),
            *("--sleepers", str(self._sleepers)),
            *([] if self._providers is None else ["--pushes", str(self._providers.log)]),
            *(["--apart"] if self.apart else []),
            *("--rate", str(self.rate)),
            *("--within", str(self.within)),
            *("--addresses", str(_ADDRESSES if len(self._prosodies) > 1 else 1)),
        ]

    def is_ready(self) -> bool:
        """It serves nobody, so running is all there is to wait for."""
        return self.running
