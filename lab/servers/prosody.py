"""Prosody in the lab: the specification's Appendix A, with what loopback needs from `prosody.loopback.cfg.lua`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lab.running.programs import program
from lab.running.server import Server, Workspace, http_answers, tcp_accepts
from lab.running.workspace import ROOT, LabError
from xmpp.transport import Endpoints, trusting

if TYPE_CHECKING:
    from lab.servers.postgresql import Postgresql

DOMAIN = "commeazy.com"  # Appendix A's VirtualHost
DATABASE = "prosody"  # Appendix A's, and the user's name as well
TURN_SECRET = "<GEDEELD_SECRET>"  # noqa: S105 - the specification's placeholder is as good as any on loopback
_LAYERS = (ROOT / "lab/servers/prosody.appendix-a.cfg.lua", ROOT / "lab/servers/prosody.loopback.cfg.lua")

_LONGEST_SOCKET_PATH = 107  # sockaddr_un, unix(7)


class Prosody(Server):
    """A Prosody with one virtual host; the environment variable PROSODY names another binary than the installed one.

    Args:
        lab: where it runs.
        name: unique in the lab; the node's name too.
        config: lines of Prosody configuration that win over the rest, e.g. `statistics = "none"`. Global first; extra
            modules of the host go under `VirtualHost "commeazy.com"`, in `modules_enabled`. Set the attribute and
            restart the server to change it later.

    Attributes:
        binary: the program, in place of the lab's.
        database: the PostgreSQL that keeps its accounts, started before; None, and they are files of its own.
    """

    def __init__(self, lab: Workspace, name: str = "prosody1", config: str = "") -> None:
        super().__init__(lab, name)
        self.config = config
        self.database: Postgresql | None = None
        self.binary: str | None = None
        self.c2s_port = lab.ports.reserve()
        self.http_port = lab.ports.reserve()

    @property
    def admin_socket(self) -> Path:
        """The Unix socket of mod_admin_socket."""
        return self.directory / "prosody.sock"

    @property
    def address(self) -> str:
        """Both its doors."""
        return f"{self.websocket_url}, c2s 127.0.0.1:{self.c2s_port}"

    @property
    def websocket_url(self) -> str:
        """The address clients and the exporter's probe connect to (RFC 7395)."""
        return f"ws://127.0.0.1:{self.http_port}/xmpp-websocket"

    @property
    def version(self) -> str:
        """Of the program, which its start script has beside its source; asking it would start it. "" if unknown."""
        script = Path(shutil.which(self._program) or self._program)
        source = re.search("^CFG_SOURCEDIR='(.*)'", script.read_text(encoding="utf-8"), re.MULTILINE)
        file = Path(source[1]) / "prosody.version" if source else None
        return file.read_text(encoding="utf-8").strip() if file and file.is_file() else ""

    def endpoints(self, authority: Path | None = None) -> Endpoints:
        """Return where clients connect; its certificate is verified against this CA, the lab's unless given."""
        tls = trusting(authority or self.lab.directory / "ca.pem")
        return Endpoints(DOMAIN, self.websocket_url, "127.0.0.1", self.c2s_port, tls)

    def prepare(self) -> None:
        """Write the configuration: each included file starts in the global section and overrides the ones before."""
        if len(str(self.admin_socket)) > _LONGEST_SOCKET_PATH:
            raise LabError(f"{self.admin_socket} is too long a path for a socket; set TMPDIR to a shorter one")
        if self.database is not None:
            self.database.make_database(DATABASE)
        overrides = self.directory / "overrides.cfg.lua"
        overrides.write_text(self.config + "\n")
        self._config_file.write_text("".join(f'Include "{layer}"\n' for layer in (*_LAYERS, overrides)))

    def command(self) -> list[str]:
        """Run in the foreground, so that the process we started is the server."""
        return [self._program, "-F", "--config", str(self._config_file)]

    def environment(self) -> dict[str, str]:
        """Return what the loopback configuration reads."""
        certificate, key = self.lab.certificate(DOMAIN)
        database = {} if self.database is None else {"LAB_DATABASE_PORT": str(self.database.port)}
        return database | {
            "PROSODY_TURN_SECRET": TURN_SECRET,
            "LAB_DIRECTORY": str(self.directory),
            "LAB_C2S_PORT": str(self.c2s_port),
            "LAB_HTTP_PORT": str(self.http_port),
            "LAB_CERTIFICATES": str(certificate.parent),
            "LAB_CERTIFICATE": str(certificate),
            "LAB_KEY": str(key),
        }

    def is_ready(self) -> bool:
        """HTTP is answered once its loop runs; a port it could not bind is only a log line to it, so look at both."""
        return http_answers(f"http://127.0.0.1:{self.http_port}/") and tcp_accepts(self.c2s_port)

    @property
    def _program(self) -> str:
        return self.binary or program("prosody")

    @property
    def _config_file(self) -> Path:
        return self.directory / "prosody.cfg.lua"
