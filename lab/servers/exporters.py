"""Our own programs in the lab, run from the working tree with an operator's command line; no program of others."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

import yaml

from lab.running.server import Target, WebServer, http_answers
from lab.servers.prosody import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lab.running.server import Workspace
    from lab.servers.coturn import Coturn
    from lab.servers.haproxy import Haproxy
    from lab.servers.prosody import Prosody


class Exporter(WebServer):
    """One exporter: the package `exporters.<kind>`, scraped as job `<kind>`.

    Args:
        lab: where it runs.
        kind: the target's word, e.g. "prosody".
        instance: the node name it is scraped under.
        flags: its command line beside the listen address, asked at each start. Replace the attribute and restart to
            change it.
    """

    def __init__(self, lab: Workspace, kind: str, instance: str, flags: Callable[[], list[str]]) -> None:
        super().__init__(lab, f"{instance}-exporter")
        self.kind = kind
        self.flags = flags
        self.target = Target(kind, instance, self.port)

    def command(self) -> list[str]:
        """Run the package with the Python that runs the lab."""
        return [
            *(sys.executable, "-m", f"exporters.{self.kind}"),
            f"--web.listen-address=127.0.0.1:{self.port}",
            *self.flags(),
        ]

    def is_ready(self) -> bool:
        """Use its own readiness page."""
        return http_answers(f"{self.url}/-/ready", HTTPStatus.OK)


class CertificateExporter(Exporter):
    """The certificate exporter, looking at what the lab's servers serve and at the files they have it from.

    Args:
        prosodies: probed over XMPP STARTTLS.
        coturn: probed over TLS.
        haproxy: probed over TLS.
    """

    def __init__(self, prosodies: Sequence[Prosody], coturn: Coturn, haproxy: Haproxy) -> None:
        super().__init__(
            coturn.lab,
            "certificates",
            instance="monitoring",
            flags=lambda: [f"--config.file={self.config_file}", "--probe.interval=5s"],
        )
        self._prosodies = prosodies
        self._coturn = coturn
        self._haproxy = haproxy

    @property
    def config_file(self) -> Path:
        """Its certificates.yml."""
        return self.directory / "certificates.yml"

    def prepare(self) -> None:
        """Name the endpoints; each served certificate should be the one in its file."""
        folder = self.lab.directory / "certificates"
        turn = "turn.commeazy.com"
        served = [
            *(
                (f"{prosody.name}-c2s", "xmpp-client", DOMAIN, prosody.c2s_port, folder / f"{DOMAIN}.crt")
                for prosody in self._prosodies
            ),
            ("turn-tls", "tls", turn, self._coturn.tls_port, folder / f"{turn}.crt"),
            ("wss", "tls", DOMAIN, self._haproxy.tls_port, self._haproxy.certificate),
        ]
        ca = str(self.lab.directory / "ca.pem")
        targets: list[dict[str, object]] = [
            {
                "name": name,
                "kind": kind,
                "address": f"127.0.0.1:{port}",
                "server_name": host,
                "ca": ca,
                "file": str(file),
            }
            for name, kind, host, port, file in served
        ]
        targets.append({"name": "files", "kind": "file", "paths": [str(folder / "*.crt")], "ca": ca})
        self.config_file.write_text(yaml.safe_dump({"targets": targets}))
