"""The whole stack on loopback: every server the lab knows, named. A new server is one class and one line here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alerts.catalogue.prosody import NEW_ENOUGH
from lab.fakes.providers import Providers
from lab.fakes.receivers import Receivers
from lab.running.server import Workspace
from lab.servers.alertmanager import Alertmanager
from lab.servers.coturn import Coturn
from lab.servers.exporters import CertificateExporter, ExporterProcess, SyntheticExporter
from lab.servers.gateway import PushGateway
from lab.servers.generator import Generator
from lab.servers.haproxy import Haproxy
from lab.servers.machine import Machine, lacking
from lab.servers.node import NodeExporter
from lab.servers.postgresql import PostgresExporter, Postgresql, Queries
from lab.servers.prometheus import Prometheus
from lab.servers.prosody import Prosody
from lab.users.calls import Calls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.running.server import Server

USERS = 20
SLEEPERS = 5  # users whose phones only a push can reach
# What scripts have told on the host with the services' address and the backups.
TOLD = (
    "commeazy-keepalived-state INSTANCE VI_2 MASTER 100",
    "commeazy-backup base true",
    "commeazy-backup restore_test true",
)

# The specification waits 60 s for a dead connection and keeps its session for 30 s more: too long to watch.
SHORT_TIMES = """
network_settings = { read_timeout = 6 }
smacks_hibernation_time = 6
"""
# coturn's own load tool leaves its UDP allocations behind; in minutes they would use up the specified total-quota.
SHORT_ALLOCATIONS = "max-allocate-lifetime=60"


@dataclass(frozen=True)
class Node:
    """What runs on one Prosody host, and what watches it."""

    prosody: Prosody
    push_gateway: PushGateway
    exporter: ExporterProcess
    always: str = ""
    times: str = SHORT_TIMES

    def configure(self, lines: str = "") -> None:
        """Make the Prosody impatient and its gateway's client from its next start on; further global lines win."""
        settings, host, of_host = self.push_gateway.bridge.partition("VirtualHost")
        self.prosody.config = self.times + self.always + settings + lines + host + of_host


class Lab(Workspace):
    """The servers by name; none runs until it is started, and all are gone when the lab is left.

    Args:
        prosody_config: lines that win over the lab's Prosody configuration, see `lab.servers.prosody.Prosody`;
            `start_all` has its own.
        active_passive: whether all users are on the first Prosody while it is up, the second one waiting
            (docs/architectures.md); else they are spread, as the specification has it.
        quiet: whether no alert fires by itself: users of different nodes, who cannot reach each other, do not try, and
            mod_limits is off, under which Prosody 13.0.1 finds no silent phone.
        nodes: how many Prosody hosts.
        times: the settings by which a Prosody waits for phones, in place of the specification's.

    Attributes:
        pair: the hosts of the HAProxies, machines of their own; the lab's HAProxy runs on this one. Two if it is quiet.
        hosts: what starts of them: where there can be no such machine, this one in their place.
        nodes: the Prosody hosts; prosody, push_gateway and prosody_exporter are the first one's.
    """

    def __init__(
        self,
        *,
        prosody_config: str = "",
        active_passive: bool = False,
        quiet: bool = False,
        nodes: int = 2,
        times: str = SHORT_TIMES,
    ) -> None:
        super().__init__()
        self._times = times
        self.postgresql = Postgresql(self, "postgres1")
        self.replica = Postgresql(self, "postgres2", primary=self.postgresql)
        self.queries = Queries(self.postgresql)
        self.postgres_exporters = [PostgresExporter(server) for server in (self.postgresql, self.replica)]
        self.providers = Providers(self)
        always = 'modules_disabled = { "offline"; "s2s"; "limits" }\n' if quiet else ""
        self.nodes = [self._node(f"prosody{number + 1}", prosody_config, always) for number in range(nodes)]
        self.prosody = self.nodes[0].prosody
        self.push_gateway = self.nodes[0].push_gateway
        self.prosody_exporter = self.nodes[0].exporter
        prosodies = [node.prosody for node in self.nodes]
        self.haproxy = Haproxy(self, prosodies)
        self.coturn = Coturn(self)
        self.coturn_exporter = ExporterProcess(
            self,
            "coturn",
            instance="coturn1",
            flags=lambda: [f"--coturn.config={self.coturn.config_file}"],
        )
        self.traffic = Generator(
            prosodies, USERS, sleepers=SLEEPERS, providers=self.providers, door=self.haproxy.websocket_url
        )
        self.calls = Calls(self.coturn)
        self.certificate_exporter = CertificateExporter(prosodies, self.coturn, self.haproxy)
        self.synthetic = SyntheticExporter(prosodies, self.haproxy, self.coturn)
        if active_passive:
            self.haproxy.active_passive = True
            self.synthetic.wishes["cross_node"] = "not_expected"
        if quiet:
            self.synthetic.wishes["cross_node"] = "not_expected"
        self.pair = [Machine(self, "haproxy1", *TOLD)]
        if quiet:
            self.pair.append(Machine(self, "haproxy2", "commeazy-keepalived-state INSTANCE VI_2 BACKUP 90"))
            ports = [self.ports.reserve() for _ in self.pair]
            self.pair[0].cable, self.pair[1].cable = (ports[0], ports[1]), (ports[1], ports[0])
        self.hosts: list[Server] = [*self.pair] if lacking() is None else [NodeExporter(self, "haproxy1", *TOLD)]
        self.receivers = Receivers(self)
        self.alertmanager = Alertmanager(self, self.receivers)
        self.prometheus = Prometheus(self)
        self.prometheus.any_prosody = not re.fullmatch(NEW_ENOUGH, self.prosody.version)

    def _node(self, name: str, config: str, always: str) -> Node:
        prosody = Prosody(self, name, config)
        return Node(
            prosody,
            PushGateway(self, self.providers, f"{name}-gateway", node=name),
            ExporterProcess(
                self,
                "prosody",
                instance=name,
                flags=lambda: [
                    f"--prosody.socket={prosody.admin_socket}",
                    f"--prosody.websocket-url=http://127.0.0.1:{prosody.http_port}/xmpp-websocket",
                ],
            ),
            always,
            self._times,
        )

    def start(self, *servers: Server) -> None:
        """Start these servers in this order, each when the one before is ready. Prometheus goes after its targets."""
        for server in servers:
            server.start()

    def start_all(self) -> Iterator[Server]:
        """Start everything, wired as Section 3 draws it, with impatient Prosodys; give each server once it is ready."""
        self.coturn.config += f"\n{SHORT_ALLOCATIONS}"
        for node in self.nodes:
            node.prosody.database = self.postgresql
            node.configure()
        servers: tuple[Server, ...] = (
            *(self.postgresql, self.replica, *self.postgres_exporters, self.queries, self.providers),
            *(server for node in self.nodes for server in (node.push_gateway, node.prosody, node.exporter)),
            *(self.haproxy, self.coturn, self.coturn_exporter, self.certificate_exporter, self.synthetic),
            *self.hosts,
            *(self.receivers, self.alertmanager, self.prometheus, self.traffic, self.calls),
        )
        for server in servers:
            server.start()
            yield server

    def revive(self) -> list[str]:
        """Start each Prosody that crashed again, as Debian's unit does (Restart=on-abnormal); return their names.

        Prosody with Debian's LuaDBI may crash minutes after its PostgreSQL went away: docs/prosody.md.
        """
        crashed = [node.prosody for node in self.nodes if node.prosody.crashed]
        for prosody in crashed:
            prosody.kill()
            prosody.start()
        return [prosody.name for prosody in crashed]
