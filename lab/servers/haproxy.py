"""HAProxy in front of the lab's Prosodys: the specification's Section 7, with what loopback needs and two fixed lines.

The fixed lines are those of prometheus/snippets/haproxy.cfg: Prosody answers GET /health with 404, and the statistics
page serves no metrics by itself.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lab.running.server import ScrapeTarget, http_answers
from lab.running.workspace import ROOT, VALIDITY
from lab.servers import certified
from lab.servers.prosody import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import trustme

    from lab.running.server import Workspace
    from lab.servers.prosody import Prosody

_SECTION_7 = ROOT / "lab/servers/haproxy.section-7.cfg"
_SERVER = "    server prosody{} 10.0.1.1{}:5280 check inter 5s fall 3 rise 2 weight 100"


class Haproxy(certified.CertifiedHaproxy):
    """The users' way in, over TLS. Who comes from one address always meets the same Prosody, while that is up.

    Args:
        lab: where it runs.
        prosodies: the servers of its backend; the specification has three.
        name: unique in the lab; the node's name as well.

    Attributes:
        most_connections: it accepts at a time, from the next start on; the specification's 100,000 need more
            descriptors than a user may open.
        active_passive: whether all users are on the first Prosody while that is up (docs/architectures.md), from the
            next start on.
    """

    def __init__(self, lab: Workspace, prosodies: Sequence[Prosody], name: str = "haproxy1") -> None:
        super().__init__(lab, name)
        self.active_passive = False
        self.most_connections = 2000
        self._prosodies = prosodies
        self.stats_port = self.lab.ports.reserve()
        self.health_port = self.lab.ports.reserve()  # of a server the specification names and does not describe
        self.target = ScrapeTarget("haproxy", name, self.stats_port)

    @property
    def address(self) -> str:
        """Its door for users, and its page."""
        return f"{self.websocket_url}, http://127.0.0.1:{self.stats_port}/stats"

    @property
    def websocket_url(self) -> str:
        """The address clients connect to, by the certificate of the domain."""
        return f"wss://127.0.0.1:{self.tls_port}/xmpp-websocket"

    def write_certificate(self, *, valid: timedelta = VALIDITY, authority: trustme.CA | None = None) -> None:
        """Write a new certificate, of the lab's authority unless another is given; HAProxy has yet to be reloaded."""
        issued = (authority or self.lab.authority).issue_cert(DOMAIN, not_after=datetime.now(UTC) + valid)
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.certificate))
        self.certificate.chmod(0o600)

    def tell(self, command: str) -> str:
        """Send a command to its admin socket, as an operator does with socat; return its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self.patience)
            connection.connect(str(self._admin_socket))
            connection.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode().strip()

    @property
    def _admin_socket(self) -> Path:
        return self.directory / "admin.sock"

    def prepare(self) -> None:
        """Write the certificate and the configuration."""
        self.write_certificate()
        specified = [_SERVER.format(number + 1, number) for number in range(3)]
        servers = [self._server(number) for number in range(len(self._prosodies))]
        replaced = {
            "    maxconn 100000": f"    maxconn {self.most_connections}",
            "    log /dev/log local0": "    log stdout format raw local0",
            "    stats socket /run/haproxy/admin.sock": (f"    stats socket {self._admin_socket}"),
            "    bind *:443 ssl crt /etc/ssl/commeazy/commeazy.com.pem": (
                f"    bind 127.0.0.1:{self.tls_port} ssl crt {self.certificate}"
            ),
            "    option httpchk GET /health": "    option httpchk GET /xmpp-websocket",
            **dict.fromkeys(specified, ""),
            specified[0]: "\n".join(servers),
            "    http-check expect status 200": "\n".join(
                [
                    "    http-check expect status 200",
                    "    acl synthetic src 127.0.0.1",
                    *(
                        f"    use-server {one.name} if {{ req.hdr(X-Probe-Node) {one.name} }} synthetic"
                        for one in self._prosodies
                    ),
                    "    http-response set-header X-Served-By %s if synthetic",
                ]
            ),
            "    server local 127.0.0.1:8080": f"    server local 127.0.0.1:{self.health_port}",
            "    bind *:8404": (
                f"    bind 127.0.0.1:{self.stats_port}\n"
                "    http-request use-service prometheus-exporter if { path /metrics }"
            ),
        }
        text = _SECTION_7.read_text(encoding="utf-8")
        for line, value in replaced.items():
            assert text.count(line) == 1, f"Section 7 says {line!r} once"
            text = text.replace(line, value)
        (self.directory / "haproxy.cfg").write_text(text, encoding="utf-8")

    def _server(self, number: int) -> str:
        """Return the line of a server: the specification's first, with another name and address."""
        line = _SERVER.format(1, 0).replace("prosody1", self._prosodies[number].name)
        line = line.replace("10.0.1.10:5280", f"127.0.0.1:{self._prosodies[number].http_port}")
        if not self.active_passive:
            return line
        return line + (
            " backup" if number else " on-marked-down shutdown-sessions on-marked-up shutdown-backup-sessions"
        )

    def is_ready(self) -> bool:
        """It listens for users, and tells about itself."""
        return super().is_ready() and http_answers(f"http://127.0.0.1:{self.stats_port}/metrics")
