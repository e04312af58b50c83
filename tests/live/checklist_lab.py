"""The lab with all that the checklist asks for, and all of it right: node exporters, a name server, host files."""

from __future__ import annotations

import asyncio
import os
import re
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import yaml

from alerts.catalogue import KNOBS
from alerts.thresholds import load
from check import host
from check.attestations import Attestation
from check.checklist_command import exported
from check.chosen import chosen
from check.client import HttpClient
from check.examination import uids
from check.grafana import GrafanaApi
from check.items import Item, Need, checklist
from check.judging import Finding, Sources, judge
from check.probes.run import probes
from check.prometheus import PrometheusApi
from check.site import Name, Site
from exporters.prosody.client import AdminShell
from lab.drill.thresholds import HASTE, write_thresholds
from lab.running.server import Server, tcp_accepts
from lab.running.workspace import ROOT
from lab.servers.node import NodeExporter
from lab.servers.prosody import DATABASE
from lab.stack import Lab
from tests.check.servers import FakeGrafana, serving
from toolkit.values import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from check.probes import Probed
    from lab.running.server import Workspace
    from lab.servers.prosody import Prosody

NAME = "xmpp.commeazy.com"
PATIENCE = 300.0  # seconds until Prometheus has seen what a test did; windows of 40 s must have passed
_WINDOWS = {"[1h]": "[40s]", "[7d]": "[40s]", "[10m]": "[40s]", "offset 1d": "offset 40s"}
_DAY_OLD = re.compile(r"(start_time_seconds|uptime_seconds) < 86400")
# Plays systemd: prints what the file beside it says of a unit, by `systemctl show`.
_SYSTEMCTL = """#!/bin/sh
cat "$(dirname "$0")/../units/$2" 2>/dev/null || echo LoadState=not-found
"""
_JOURNALCTL = '#!/bin/sh\ncat "$(dirname "$0")/../journal"\n'


def scaled(item: Item) -> Item:
    """Return an item with windows that a test can wait for; nothing else changes."""

    def short(text: str) -> str:
        for long, brief in _WINDOWS.items():
            text = text.replace(long, brief)
        return _DAY_OLD.sub(r"\1 < 40", text)

    needs = tuple(Need(short(need.selector), need.job) for need in item.needs)
    return replace(
        item,
        expr=short(item.expr),
        needs=needs,
        unknown=short(item.unknown),
        unmeasured=short(item.unmeasured),
    )


ITEMS = tuple(scaled(item) for item in checklist().items.values())


class NameServer(Server):
    """nsd as the zone's own name server; set its answer and restart it."""

    def __init__(self, lab: Workspace) -> None:
        super().__init__(lab, "nsd")
        self.port = lab.ports.reserve()
        self.answer = ("192.0.2.10", 60)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write a zone with one name of the service."""
        here, (address, ttl) = self.directory, self.answer
        (here / "zone").write_text(
            "$ORIGIN commeazy.com.\n@ 3600 IN SOA ns1 admin 1 3600 600 86400 60\n@ 3600 IN NS ns1\n"
            f"ns1 3600 IN A 127.0.0.1\nxmpp {ttl} IN A {address}\n"
        )
        (here / "nsd.conf").write_text(
            f'server:\n ip-address: 127.0.0.1\n port: {self.port}\n username: ""\n chroot: ""\n zonesdir: "{here}"\n'
            f' pidfile: ""\n database: ""\n zonelistfile: "{here}/list"\n xfrdfile: "{here}/xfrd"\n xfrdir: "{here}"\n'
            "remote-control:\n control-enable: no\nzone:\n name: commeazy.com\n zonefile: zone\n"
        )

    def command(self) -> list[str]:
        """Run in the foreground."""
        return ["nsd", "-d", "-c", str(self.directory / "nsd.conf")]

    def is_ready(self) -> bool:
        """It takes a TCP connection."""
        return tcp_accepts(self.port)


class OldTls(Server):
    """`openssl s_server` with the lab's certificate, and with what no server should accept."""

    def __init__(self, lab: Lab, name: str, *flags: str) -> None:
        super().__init__(lab, name)
        self.port = lab.ports.reserve()
        self.flags = flags

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Serve on loopback."""
        certificate, key = self.lab.certificate("commeazy.com")
        files = ("-cert", str(certificate), "-key", str(key))
        return ["openssl", "s_server", "-accept", self.address, *files, "-quiet", "-naccept", "100000", *self.flags]

    def is_ready(self) -> bool:
        """It takes a connection."""
        return tcp_accepts(self.port)


class Stage:
    """The lab and what judges it; every `break_` of a test is undone by the test."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self.lab = lab
        self.nodes = {name: NodeExporter(lab, name) for name in ("prosody1", "prosody2", "monitoring")}
        self.names = NameServer(lab)
        self.host = lab.directory / "host"
        self.grafana = FakeGrafana(dict.fromkeys(uids(), True))
        self.grafana_url = stack.enter_context(serving(self.grafana))
        self.closed = lab.ports.reserve()
        self.attestations = {item.id: Attestation("Bert", int(time.time())) for item in ITEMS if item.attest}
        self.backup_age = 3600.0
        self.facts_age = 0.0

    def start(self) -> None:
        """Start everything with nothing wrong."""
        lab = self.lab
        lab.prometheus.thresholds = write_thresholds(lab.directory / "short.yaml", load(KNOBS))
        lab.alertmanager.haste = HASTE
        lab.traffic.apart = True  # a phone that a message wakes has heard of its calls, too
        lab.traffic.rate = 15.0  # some calls and messages to sleepers in every window
        lab.hosts.clear()  # no item asks anything of HAProxy's hosts
        lab.coturn.config += "\ncipher-list=ECDHE+AESGCM\nno-tlsv1\nno-tlsv1_1"
        lab.postgresql.settings = _archiving(lab.postgresql.settings)  # type: ignore[method-assign] # a test's own
        lab.haproxy.prepare = _strong(lab)  # type: ignore[method-assign] # as above
        lab.prometheus.prepare = self._prometheus(lab.prometheus.prepare)  # type: ignore[method-assign] # as above
        make_host(self.host)
        lab.start(*self.nodes.values(), self.names)
        for _ in lab.start_all():
            pass
        view = ROOT / "deploy" / "postgresql" / "checklist.sql"
        lab.postgresql.run("psql", *lab.postgresql.connection, "-d", DATABASE, "-q", "-f", str(view))
        lab.postgresql.ask("SELECT pg_switch_wal()")

    def _prometheus(self, prepare: Callable[[], None]) -> Callable[[], None]:
        """Let it record the checklist with short windows."""
        prometheus = self.lab.prometheus

        def prepared() -> None:
            prepare()
            rules = prometheus.directory / "rules" / "checklist.yaml"
            document = yaml.safe_load(rules.read_text())
            document["groups"][0]["rules"] = [
                {"record": "checklist_item", "expr": item.recorded, "labels": {"id": item.id}} for item in ITEMS
            ]
            rules.write_text(yaml.safe_dump(document))
            for file in rules.parent.glob("*.yaml"):
                if file.name not in ("checklist.yaml", "recording.yaml"):  # no item waits for the others
                    file.write_text(re.sub(r"interval: \S+\n", "interval: 10s\n", file.read_text()))

        return prepared

    # What the hosts know -----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Do what the timers do on the hosts."""
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{self.host / 'bin'}:{path}"
        try:
            text = host.look(self.host).text(time.time() - self.facts_age)
        finally:
            os.environ["PATH"] = path
        done = time.time() - self.backup_age
        backups = "".join(
            f'backup_last_success_timestamp_seconds{{kind="{kind}"}} {done}\n' for kind in ("base", "restore_test")
        )
        for name, node in self.nodes.items():
            _replace(node.textfiles / "host.prom", text if name.startswith("prosody") else backups)

    # Judging -----------------------------------------------------------------------------------------------------

    def site(self) -> Site:
        """What the operator of this lab would write."""
        database = f"host=127.0.0.1 port={self.lab.postgresql.port} dbname={DATABASE} user=commeazy_check"
        return Site(
            server=Address("127.0.0.1", self.names.port),
            names=(Name(NAME, frozenset({"192.0.2.10"}), 60),),
            open=(Address("127.0.0.1", self.lab.haproxy.tls_port), Address("127.0.0.1", self.names.port)),
            closed=(Address("127.0.0.1", self.closed),),
            database=database,
        )

    def judge(self, items: Sequence[Item] = ITEMS) -> dict[str, Finding]:
        """Judge now, and write what the timer on the monitoring host would write."""
        self.look()
        prometheus = PrometheusApi(HttpClient(self.lab.prometheus.url))
        grafana = GrafanaApi(HttpClient(self.grafana_url, f"Bearer {FakeGrafana.TOKEN}"))
        ran: dict[str, Probed] = {}

        def keeping(name: str, run: Callable[[], Probed]) -> Callable[[], Probed]:
            def run_and_keep() -> Probed:
                ran[name] = run()
                return ran[name]

            return run_and_keep

        made = probes(self.site(), prometheus, grafana, chosen(self.lab.prometheus.thresholds))
        now = time.time()
        sources = Sources(prometheus, {name: keeping(name, run) for name, run in made.items()}, self.attestations, now)
        found = {finding.item.id: finding for finding in judge(items, sources)}
        if self.lab.prometheus.any_prosody:  # the installed one is older than A1 demands: not this test's business
            found.pop("A1", None)
        if len(items) == len(ITEMS):
            _replace(self.nodes["monitoring"].textfiles / "checklist.prom", exported(ran, self.attestations, now))
        return found

    def until(self, right: Callable[[dict[str, Finding]], bool]) -> dict[str, Finding]:
        """Judge until it is as it should be."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.judge()
            if right(found):
                return found
            wrong = [str(finding) for finding in found.values() if finding.status not in ("ok", "YOURS")]
            assert time.monotonic() < deadline, "\n".join(wrong)
            time.sleep(2)

    def recorded(self) -> dict[str, float]:
        """Return what Prometheus has recorded, by item."""
        return {s.labels["id"]: s.value for s in self.lab.prometheus.query("checklist_item")}

    def lua(self, prosody: Prosody, source: str) -> str:
        """Run Lua inside a Prosody."""

        async def run() -> str:
            shell = AdminShell(prosody.admin_socket)
            try:
                return await shell.lua(source)
            finally:
                await shell.close()

        return asyncio.run(run())


def make_host(root: Path) -> None:
    """Make the files of one host, as docs/install.md leaves them, and commands that play systemd and its journal."""
    for folder in (
        *("etc/commeazy", "etc/systemd/system", "etc/letsencrypt/renewal", "etc/letsencrypt/live/xmpp"),
        *("var/log/prosody", "var/lib/logrotate", "bin", "units"),
    ):
        (root / folder).mkdir(parents=True)
    for name, text in (("systemctl", _SYSTEMCTL), ("journalctl", _JOURNALCTL)):
        (root / "bin" / name).write_text(text)
        (root / "bin" / name).chmod(0o755)
    unit(root, "push-gateway.service")
    unit(root, "certbot.timer")
    (root / "journal").touch()
    (root / "etc/systemd/system/push-gateway.service").touch()
    (root / "etc/letsencrypt/renewal/xmpp.conf").touch()
    for secret in ("etc/commeazy/push.p8", "etc/commeazy/fcm.json", "etc/letsencrypt/live/xmpp/privkey.pem"):
        (root / secret).touch()
        (root / secret).chmod(0o600)
    environment = root / "etc/commeazy/push-gateway.env"
    environment.write_text(
        "APNS_KEY_PATH=/etc/commeazy/push.p8\nGOOGLE_APPLICATION_CREDENTIALS=/etc/commeazy/fcm.json\n"
    )
    environment.chmod(0o600)
    log = root / "var/log/prosody/prosody.log"
    log.touch()
    (root / "etc/logrotate.conf").write_text(f"{log} {{\n daily\n missingok\n}}\n")
    (root / "var/lib/logrotate/status").touch()


def unit(root: Path, name: str, **properties: str) -> None:
    """Say what systemd says of a unit."""
    known = {
        "LoadState": "loaded",
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "Restart": "always",
        "NRestarts": "1",
        "ActiveExitTimestampMonotonic": "1000000",
        "ActiveEnterTimestampMonotonic": "2200000",
    }
    text = "".join(f"{key}={value}\n" for key, value in (known | properties).items())
    (root / "units" / name).write_text(text)


@contextmanager
def stage() -> Iterator[Stage]:
    """Run the lab with nothing wrong."""
    with ExitStack() as stack:
        made = Stage(stack.enter_context(Lab(quiet=True)), stack)
        made.start()
        yield made


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def _archiving(settings: Callable[[], dict[str, str | Path]]) -> Callable[[], dict[str, str | Path]]:
    return lambda: settings() | {"archive_mode": "on", "archive_command": "/bin/true"}


def _strong(lab: Lab) -> Callable[[], None]:
    """Let HAProxy accept what prometheus/snippets/haproxy.cfg says."""
    prepare = lab.haproxy.prepare

    def prepared() -> None:
        prepare()
        file = lab.haproxy.directory / "haproxy.cfg"
        text = file.read_text()
        line = f"ssl crt {lab.haproxy.certificate}"
        assert text.count(line) == 1
        file.write_text(text.replace(line, f"{line} ciphers ECDHE+AESGCM ssl-min-ver TLSv1.2"))

    return prepared
