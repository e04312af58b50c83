"""coturn in the lab: the specification's Section 13, with what loopback needs in place of its paths and addresses.

The first `denied-peer-ip` in that file has a comment behind its value, which coturn 4.6.1 takes as part of the value:
it does not deny 10.0.0.0/8. The line stays as it is, except for coturn 4.11 and newer, which do not start with it.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

from lab.running.server import Server, Workspace
from lab.running.workspace import ROOT
from toolkit import stun

if TYPE_CHECKING:
    from pathlib import Path

REALM = "commeazy.com"
SECRET = "<GEDEELD_SECRET>"  # noqa: S105 - the specification's placeholder is as good as any on loopback
_HOST = "turn.commeazy.com"
_SECTION_13 = ROOT / "lab/servers/coturn.section-13.conf"
_NO_COMMENTS = (4, 11)  # does not start with a comment behind denied-peer-ip


class Coturn(Server):
    """A turnserver.

    Args:
        lab: where it runs.
        name: "coturn", unless the lab has more than one.
        config: further lines of turnserver.conf; a line wins over an earlier one of the same option. Set the attribute
            and restart the server to change it later.

    Attributes:
        without: options whose lines are left out of turnserver.conf; like `config`, for the next start.
        arguments: more words of its command line.
    """

    def __init__(self, lab: Workspace, name: str = "coturn", config: str = "") -> None:
        super().__init__(lab, name)
        self.config = config
        self.without: set[str] = set()
        self.arguments: list[str] = []
        self.port = lab.ports.reserve()
        self.tls_port = lab.ports.reserve()
        self.cli_port = lab.ports.reserve()

    @property
    def address(self) -> str:
        """Its two listening ports, each over UDP and TCP."""
        return f"turn:127.0.0.1:{self.port}, turns:127.0.0.1:{self.tls_port}"

    @property
    def config_file(self) -> Path:
        """Its turnserver.conf, for the exporter."""
        return self.directory / "turnserver.conf"

    @property
    def log_folder(self) -> Path:
        """The directory of its own log; the lab makes it, as the operator must on Debian."""
        return self.directory / "log"

    def prepare(self) -> None:
        """Write the configuration."""
        # coturn needs two descriptors for each allocation, and takes what its parent allows.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.log_folder.mkdir(exist_ok=True)
        self.write_config()

    @property
    def version(self) -> tuple[int, ...]:
        """Of the turnserver that the environment variable TURNSERVER names, or of Debian's, e.g. (4, 6, 1)."""
        said = subprocess.run([self.command()[0], "--version"], check=True, capture_output=True, text=True).stdout
        return tuple(map(int, re.findall(r"\d+", said.strip().splitlines()[-1])))

    def write_config(self) -> None:
        """Write turnserver.conf: Section 13, what differs on loopback, and the lines of `config`."""
        certificate, key = self.lab.certificate(_HOST)
        replaced = {
            "listening-port": self.port,
            "tls-listening-port": self.tls_port,
            "cert": certificate,
            "pkey": key,
            "log-file": self.log_folder / "turn.log",
        }
        added = [
            "listening-ip=127.0.0.1",
            "relay-ip=127.0.0.1",
            "allow-loopback-peers",  # every peer is on loopback here; never in production
            f"cli-port={self.cli_port}",
            # Without a password the CLI is closed anyway; with loopback peers, coturn insists on being told so.
            # From 4.10 on it stays closed without the line `cli`, which 4.6.1 does not know and ignores.
            *(["cli"] if "cli-password" in self.config else ["no-cli"]),
            f"userdb={self.directory / 'turndb'}",
            f"pidfile={self.directory / 'turnserver.pid'}",
        ]
        text = _SECTION_13.read_text(encoding="utf-8")
        if self.version >= _NO_COMMENTS:
            text = re.sub(r"^(denied-peer-ip=\S+)\s+#.*$", r"\1", text, flags=re.MULTILINE)
        for option, value in replaced.items():
            text, found = re.subn(rf"^{option}=.*$", f"{option}={value}", text, flags=re.MULTILINE)
            assert found == 1, f"Section 13 sets {option} once"
        lines = [*text.splitlines(), *added]
        kept = [line for line in lines if line.partition("=")[0] not in self.without]
        self.config_file.write_text("\n".join([*kept, self.config, ""]), encoding="utf-8")

    def command(self) -> list[str]:
        """Run in the foreground, so that the process we started is the server."""
        return [os.environ.get("TURNSERVER", "turnserver"), "-c", str(self.config_file), *self.arguments]

    def is_ready(self) -> bool:
        """Ask as a client does, for a TURN relay: the challenge shows that its threads run, and is no STUN Binding.

        With stun-only it answers nothing else than a Binding.
        """
        method = stun.Method.BINDING if "stun-only" in self.config else stun.Method.ALLOCATE
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.2)
            try:
                client.connect(("127.0.0.1", self.port))
                client.send(stun.encode(method, [])[1])
                client.recv(1500)
            except OSError:
                return False
        return True

    def reopen_log(self) -> None:
        """Do as logrotate's postrotate does (SIGHUP); coturn reopens its log with the next line it writes."""
        self._send(signal.SIGHUP)
