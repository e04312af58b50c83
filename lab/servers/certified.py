"""Servers of the lab that serve any given certificate, and load a renewed one by their own reload command."""

from __future__ import annotations

import os
import signal
from abc import abstractmethod
from typing import TYPE_CHECKING

from lab.running.programs import program
from lab.running.server import Server, tcp_accepts
from lab.servers.postgresql import Postgresql
from lab.servers.prosody import DOMAIN, Prosody

if TYPE_CHECKING:
    from pathlib import Path

    from lab.running.server import Workspace
    from lab.servers.pki import Issued


class Certified(Server):
    """A server whose certificate can be replaced.

    Attributes:
        kind: of the target in certificates.yml.
        tls_port: where it serves the certificate.
    """

    kind = "tls"
    tls_port: int

    @property
    def address(self) -> str:
        """Where it serves the certificate."""
        return f"127.0.0.1:{self.tls_port}"

    @property
    def certificate(self) -> Path:
        """The file it reads: leaf first."""
        return self.directory / "certificate.pem"

    @property
    def key(self) -> Path:
        """The file with the private key."""
        return self.directory / "key.pem"

    def install(self, issued: Issued) -> None:
        """Write a certificate and its key where the server reads them; one that runs has yet to be reloaded."""
        self.certificate.write_bytes(issued.chain_pem)
        self.key.write_bytes(issued.key_pem)
        self.key.chmod(0o600)

    @abstractmethod
    def reload(self) -> None:
        """Send the server what its own reload command sends; it acts on it in its own time."""

    def is_ready(self) -> bool:
        """Accepting connections is all a certificate needs."""
        return tcp_accepts(self.tls_port)


class CertifiedHaproxy(Certified):
    """HAProxy in master-worker mode, as systemd runs it; `old_port` accepts TLS 1.0 as well."""

    def __init__(self, lab: Workspace, name: str = "haproxy") -> None:
        super().__init__(lab, name)
        self.tls_port = lab.ports.reserve()
        self.old_port = lab.ports.reserve()

    def install(self, issued: Issued) -> None:
        """Write HAProxy's combined PEM, here with the key in front of the certificate."""
        self.certificate.write_bytes(issued.key_pem + issued.chain_pem)

    def prepare(self) -> None:
        """Write the configuration."""
        bind = f"ssl crt {self.certificate} alpn h2,http/1.1"
        (self.directory / "haproxy.cfg").write_text(f"""\
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend wss_frontend
    bind 127.0.0.1:{self.tls_port} {bind}
    bind 127.0.0.1:{self.old_port} {bind} ssl-min-ver TLSv1.0 ciphers ALL:@SECLEVEL=0
    http-request return status 200
""")

    def command(self) -> list[str]:
        """Run the master in the foreground."""
        return [program("haproxy"), "-W", "-f", str(self.directory / "haproxy.cfg")]

    def reload(self) -> None:
        """Do what `systemctl reload haproxy` does."""
        os.kill(self.pid, signal.SIGUSR2)


class CertifiedProsody(Certified, Prosody):
    """Prosody with server-to-server connections on; its certificate is served to clients and to servers."""

    kind = "xmpp-client"

    def __init__(self, lab: Workspace, name: str = "prosody-certified") -> None:
        super().__init__(lab, name)
        self.tls_port = self.c2s_port
        self.s2s_port = lab.ports.reserve()
        self.config = (
            f'modules_disabled = {{}}\ns2s_ports = {{ {self.s2s_port} }}\ns2s_interfaces = {{ "127.0.0.1" }}\n'
            "limits = { c2s = { rate = '1mb/s' }, s2sin = { rate = '1mb/s' } }"
        )

    @property
    def certificate(self) -> Path:
        """Named after the domain, as Prosody looks for it."""
        return self.directory / f"{DOMAIN}.crt"

    @property
    def key(self) -> Path:
        """Beside the certificate."""
        return self.directory / f"{DOMAIN}.key"

    def environment(self) -> dict[str, str]:
        """Point at the certificate of choice instead of the lab's."""
        return super().environment() | {
            "LAB_CERTIFICATES": str(self.directory),
            "LAB_CERTIFICATE": str(self.certificate),
            "LAB_KEY": str(self.key),
        }

    def reload(self) -> None:
        """Do what `prosodyctl reload` does."""
        os.kill(self.pid, signal.SIGHUP)

    def is_ready(self) -> bool:
        """Wait for both ports."""
        return Prosody.is_ready(self) and tcp_accepts(self.s2s_port)


class CertifiedCoturn(Certified):
    """Coturn, for its TLS listener only, with flags of its own after the others."""

    def __init__(self, lab: Workspace, name: str = "coturn-certified", *flags: str) -> None:
        super().__init__(lab, name)
        self._flags = flags
        self.port = lab.ports.reserve()
        self.tls_port = lab.ports.reserve()

    def command(self) -> list[str]:
        """Run in the foreground without its own configuration file."""
        return [
            *("turnserver", "-n", "--log-file=stdout", "--simple-log", "--no-cli", "--no-udp", "--no-dtls"),
            *("--listening-ip=127.0.0.1", f"--listening-port={self.port}", f"--tls-listening-port={self.tls_port}"),
            *("--use-auth-secret", "--static-auth-secret=lab", f"--realm={DOMAIN}"),
            *(f"--cert={self.certificate}", f"--pkey={self.key}", f"--pidfile={self.directory}/turnserver.pid"),
            f"--userdb={self.directory}/turndb",
            *self._flags,
        ]

    def reload(self) -> None:
        """Do what coturn's manual says for a new certificate."""
        os.kill(self.pid, signal.SIGUSR2)


class CertifiedPostgresql(Certified, Postgresql):
    """A primary that offers TLS."""

    kind = "postgresql"

    def __init__(self, lab: Workspace, name: str = "postgresql-certified") -> None:
        super().__init__(lab, name)
        self.tls_port = self.port

    def install(self, issued: Issued) -> None:
        """Write the files for the user that PostgreSQL runs as."""
        super().install(issued)
        self.hand_over(self.certificate, self.key)

    def settings(self) -> dict[str, str | Path]:
        """Return the settings of a primary, and TLS."""
        return super().settings() | {"ssl": "on", "ssl_cert_file": self.certificate, "ssl_key_file": self.key}

    def reload(self) -> None:
        """Do what `pg_ctl reload` does."""
        os.kill(self.pid, signal.SIGHUP)

    def is_ready(self) -> bool:
        """Wait until it answers a query."""
        return Postgresql.is_ready(self)
