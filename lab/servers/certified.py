"""Servers of the lab that serve a certificate of one's choice, and take a renewed one by their own reload command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from lab.running.server import Server, tcp_accepts
from lab.running.workspace import LabError
from lab.servers.prosody import DOMAIN, Prosody

if TYPE_CHECKING:
    from lab.running.workspace import Workspace
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


class Haproxy(Certified):
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
        return ["haproxy", "-W", "-f", str(self.directory / "haproxy.cfg")]

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
    """Coturn, for its TLS listener only."""

    def __init__(self, lab: Workspace, name: str = "coturn-certified") -> None:
        super().__init__(lab, name)
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
        ]

    def reload(self) -> None:
        """Do what coturn's manual says for a new certificate."""
        os.kill(self.pid, signal.SIGUSR2)


class CertifiedPostgresql(Certified):
    """PostgreSQL with TLS, in a new data directory; run as user postgres if we are root, whom it refuses."""

    kind = "postgresql"
    stop_signal = signal.SIGINT  # fast: SIGTERM waits for the clients to leave

    def __init__(self, lab: Workspace, name: str = "postgresql-certified") -> None:
        super().__init__(lab, name)
        self.tls_port = lab.ports.reserve()

    def install(self, issued: Issued) -> None:
        """Write them for a user who is not us."""
        super().install(issued)
        self.hand_over(self.certificate, self.key)

    def prepare(self) -> None:
        """Make the data directory."""
        data = self.directory / "data"
        if data.exists():
            return
        self.hand_over(self.directory)
        self.run("initdb", "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync")

    def settings(self) -> dict[str, str | Path]:
        """Return what its postgresql.conf would say: its socket is nowhere and its port on loopback."""
        return {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": self.certificate,
            "ssl_key_file": self.key,
            "fsync": "off",
            "shared_buffers": "16MB",
        }

    def command(self) -> list[str]:
        """Run with these settings."""
        options = [option for name, value in self.settings().items() for option in ("-c", f"{name}={value}")]
        data = str(self.directory / "data")
        return [*self._as_user(), self.program("postgres"), "-D", data, "-p", str(self.tls_port), *options]

    def reload(self) -> None:
        """Do what `pg_ctl reload` does."""
        os.kill(self.pid, signal.SIGHUP)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the server's user; return what it prints. Raises LabError if it fails."""
        command = [*self._as_user(), self.program(program), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self.directory)
        if done.returncode:
            raise LabError(f"{self.name}: {program} failed: {done.stderr.strip()}")
        return done.stdout

    @staticmethod
    def program(name: str) -> str:
        """Find one of PostgreSQL's programs, which Debian keeps out of PATH."""
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        return str(found[-1]) if found else name

    def hand_over(self, *paths: Path) -> None:
        """Give files to the server's user."""
        if os.geteuid() == 0:
            for path in paths:
                shutil.chown(path, "postgres", "postgres")

    def _as_user(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        # The capability leads through the lab's directory and those above it, which are closed to others.
        reach = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        # Once more with the parent-death signal: the kernel forgets it when the user changes.
        return [*user, *reach, "--pdeathsig", "KILL", "--"]
