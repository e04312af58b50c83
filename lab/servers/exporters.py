"""Our own programs in the lab, run from the working tree with an operator's command line; no program of others."""

from __future__ import annotations

import asyncio
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING

import yaml

from exporters.prosody.client import AdminShell
from lab.running.server import ScrapeTarget, WebServer, http_answers
from lab.servers.prosody import DOMAIN
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from lab.running.server import Workspace
    from lab.servers.coturn import Coturn
    from lab.servers.haproxy import Haproxy
    from lab.servers.prosody import Prosody


# Of the synthetic users in the lab.
QUICK = MappingProxyType(
    {
        "login": "5s",
        "message": "1s",
        "presence": "5s",
        "force_quit": "20s",
        "vanish": "30s",
        "resume": "5s",
        "turn": "15s",
    }
)


class ExporterProcess(WebServer):
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
        self.target = ScrapeTarget(kind, instance, self.port)

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


class CertificateExporter(ExporterProcess):
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


class SyntheticExporter(ExporterProcess):
    """The synthetic-user exporter, with test users of its own, behind the lab's HAProxy.

    Args:
        prosodies: started before; its test users are made on each of them.
        haproxy: the door.
        coturn: the relay.
        intervals: between two tries, shorter than an operator's: nobody waits five minutes in a lab.
        doors: an address for each node, in place of HAProxy's common one.
        relay_ports: where coturn is reached without TLS and with it, if not at its own ports.

    Attributes:
        wishes: keys of synthetic.yml that win over the lab's; from the next start on.
    """

    def __init__(  # noqa: PLR0913 - what it measures, and how it gets there
        self,
        prosodies: Sequence[Prosody],
        haproxy: Haproxy,
        coturn: Coturn,
        intervals: Mapping[str, str] = QUICK,
        *,
        doors: Mapping[str, str] | None = None,
        relay_ports: tuple[int, int] | None = None,
    ) -> None:
        flags = lambda: [f"--config.file={self.config_file}"]  # noqa: E731 - the folder is not there yet
        super().__init__(coturn.lab, "synthetic", instance="synthetic", flags=flags)
        self.wishes: dict[str, object] = {"intervals": dict(intervals)}
        self.passwords: dict[str, str] = {}
        self._prosodies = prosodies
        self._haproxy = haproxy
        self._doors = doors
        self._relay_ports = relay_ports or (coturn.port, coturn.tls_port)

    @property
    def config_file(self) -> Path:
        """Its synthetic.yml."""
        return self.directory / "synthetic.yml"

    def prepare(self) -> None:
        """Make the test users where they are missing, and write the configuration."""
        receivers = [f"synthetic-{name}" for name in (*(prosody.name for prosody in self._prosodies), "any")]
        for account in ("synthetic-sender", *receivers):
            self.passwords.setdefault(account, secrets.token_urlsafe(18))
        with ThreadPoolExecutor(1) as thread:  # a test may start it from a loop of its own
            thread.submit(asyncio.run, self._make_users(receivers)).result()
        passwords = self.directory / "passwords"
        passwords.write_text("".join(f"{name} {password}\n" for name, password in self.passwords.items()))
        passwords.chmod(0o600)
        settings: dict[str, object] = {
            "domain": DOMAIN,
            **self._door(),
            "ca": str(self.lab.directory / "ca.pem"),
            "passwords_file": str(passwords),
            "coturn": [
                {
                    "name": "coturn1",
                    "host": "127.0.0.1",
                    "port": self._relay_ports[0],
                    "tls_port": self._relay_ports[1],
                    "server_name": "turn.commeazy.com",
                }
            ],
        }
        self.config_file.write_text(yaml.safe_dump(settings | self.wishes))

    def _door(self) -> dict[str, object]:
        if self._doors is not None:
            return {"nodes": [{"name": name, "door": door} for name, door in self._doors.items()]}
        names = [prosody.name for prosody in self._prosodies]
        return {"door": self._haproxy.websocket_url, "server_name": DOMAIN, "nodes": names}

    async def _make_users(self, receivers: Sequence[str]) -> None:
        """Make them as an operator does, with the commands of `prosodyctl shell`; all receivers know the sender."""
        for prosody in self._prosodies:
            if not prosody.running:
                continue
            shell = AdminShell(prosody.admin_socket)
            try:
                for account, password in self.passwords.items():
                    with suppress(TargetError):  # it is there already, in the database that all share
                        await shell.command(f'user:create("{account}@{DOMAIN}", "{password}")')
                    await shell.command(f'user:password("{account}@{DOMAIN}", "{password}")')
                for receiver in receivers:
                    pair = f'"synthetic-sender@{DOMAIN}", "{receiver}@{DOMAIN}"'
                    await shell.command(f"roster:subscribe_both({pair})")
            finally:
                await shell.close()
