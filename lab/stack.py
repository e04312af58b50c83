"""The whole stack on loopback: every server the lab knows, named. A new server is one class and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.alertmanager import Alertmanager
from lab.calls import Calls
from lab.coturn import Coturn
from lab.exporters import CertificateExporter, Exporter
from lab.gateway import PushGateway
from lab.haproxy import Haproxy
from lab.postgresql import PostgresExporter, Postgresql, Queries
from lab.prometheus import Prometheus
from lab.prosody import Prosody
from lab.providers import Providers
from lab.workspace import Workspace

if TYPE_CHECKING:
    from lab.server import Server


class Lab(Workspace):
    """The servers by name; none runs until it is started, and all are gone when the lab is left.

    Args:
        prosody_config: lines that win over the lab's Prosody configuration, see `lab.prosody.Prosody`.
    """

    def __init__(self, *, prosody_config: str = "") -> None:
        super().__init__()
        self.prosody = Prosody(self, config=prosody_config)
        self.haproxy = Haproxy(self.prosody)
        self.prosody_exporter = Exporter(
            self,
            "prosody",
            instance="prosody1",
            flags=lambda: [
                f"--prosody.socket={self.prosody.admin_socket}",
                f"--prosody.websocket-url=http://127.0.0.1:{self.prosody.http_port}/xmpp-websocket",
            ],
        )
        self.postgresql = Postgresql(self, "postgres1")
        self.replica = Postgresql(self, "postgres2", primary=self.postgresql)
        self.queries = Queries(self.postgresql)
        self.postgres_exporters = [PostgresExporter(server) for server in (self.postgresql, self.replica)]
        self.providers = Providers(self)
        self.push_gateway = PushGateway(self, self.providers)
        self.coturn = Coturn(self)
        self.coturn_exporter = Exporter(
            self,
            "coturn",
            instance="coturn1",
            flags=lambda: [f"--coturn.config={self.coturn.config_file}"],
        )
        self.calls = Calls(self.coturn)
        self.certificate_exporter = CertificateExporter(self.prosody, self.coturn, self.haproxy)
        self.alertmanager = Alertmanager(self)
        self.prometheus = Prometheus(self)

    def start(self, *servers: Server) -> None:
        """Start these servers in this order, each when the one before is ready. Prometheus goes after its targets."""
        for server in servers:
            server.start()
