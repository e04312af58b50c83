"""The lab for a given number of users: as many Prosodys and HAProxys as they need, and everything that watches them."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from lab.scale.crowds import Entrance
from lab.servers.haproxy import Haproxy
from lab.servers.node import NodeExporter
from lab.servers.prosody import DATABASE, DOMAIN
from lab.stack import TOLD, Lab
from lab.users.accounts import PASSWORD, create_accounts, username
from lab.users.accounts import ask as ask_prosody

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.running.server import Server

_PER_PROSODY = 17_000  # users while a node is missing: each is a descriptor of 20,000
_PER_HAPROXY = 9_000  # each is two descriptors
_SPARE = 500  # descriptors that a server needs for itself
_PREFIX = "crowd"
_COPY = """
INSERT INTO prosody (host, "user", store, key, type, value)
SELECT host, '{prefix}' || n, store, key, type, value FROM prosody, generate_series(2, {users}) AS n
WHERE "user" = '{first}' AND store = 'accounts'
"""
INTERVAL = 30  # seconds between two scrapes: what is shipped


class ThisMachine(NodeExporter):
    """This machine, without the small disks that other labs mount in /tmp."""

    def command(self) -> list[str]:
        """Leave out what is mounted in /tmp."""
        return [option.replace("|sys|", "|sys|tmp|") for option in super().command()]


class ScaleLab(Lab):
    """The lab with the specification's own times, shipped rules and shipped intervals.

    Args:
        users: for how many.
        interval: seconds between two scrapes, in place of the shipped one.
    """

    def __init__(self, users: int, interval: int = INTERVAL) -> None:
        super().__init__(quiet=True, nodes=max(2, -(-users // _PER_PROSODY) + 1), times="")
        self.users = users
        prosodies = [node.prosody for node in self.nodes]
        more = [Haproxy(self, prosodies, f"haproxy{number + 2}") for number in range(-(-users // _PER_HAPROXY) - 1)]
        self.haproxies = [self.haproxy, *more]
        self.hosts = [ThisMachine(self, "haproxy1", *TOLD)]  # this machine: a virtual one takes too much of it
        self.prometheus.interval = interval
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        for haproxy in self.haproxies:
            haproxy.most_connections = (descriptors - _SPARE) // 2

    def begin(self) -> Iterator[Server]:
        """Start everything but the lab's usual traffic; give each server once it is ready."""
        for node in self.nodes:
            node.prosody.database = self.postgresql
            node.configure()
        del self.synthetic.wishes["intervals"]  # an operator's
        servers: tuple[Server, ...] = (
            *(self.postgresql, self.replica, *self.postgres_exporters, self.providers),
            *(server for node in self.nodes for server in (node.push_gateway, node.prosody, node.exporter)),
            *(*self.haproxies, self.coturn, self.coturn_exporter, self.certificate_exporter, self.synthetic),
            *(*self.hosts, self.receivers, self.alertmanager, self.prometheus),
        )
        for server in servers:
            server.start()
            yield server

    async def make_accounts(self) -> list[tuple[str, str]]:
        """Make the accounts: one by Prosody, the others as its copies in PostgreSQL, all at once."""
        await create_accounts(self.prosody.admin_socket, DOMAIN, 1, _PREFIX)
        self.postgresql.ask(_COPY.format(prefix=_PREFIX, users=self.users, first=username(1, _PREFIX)), DATABASE)
        return [(username(number, _PREFIX), PASSWORD) for number in range(1, self.users + 1)]

    @property
    def place(self) -> Entrance:
        """Where the users connect."""
        doors = [("127.0.0.1", haproxy.tls_port) for haproxy in self.haproxies]
        return Entrance(DOMAIN, doors, "/xmpp-websocket", DOMAIN, str(self.directory / "ca.pem"), loopback=True)

    async def counted_by_prosody(self) -> dict[str, int]:
        """Ask each Prosody that runs how many sessions it has, by itself and not through the exporter."""
        count = "> local n = 0; for _ in pairs(prosody.full_sessions) do n = n + 1 end; return true, tostring(n)"
        running = [node.prosody for node in self.nodes if node.prosody.running]
        return {
            prosody.name: int((await ask_prosody(prosody.admin_socket, count)).removeprefix("OK: "))
            for prosody in running
        }
