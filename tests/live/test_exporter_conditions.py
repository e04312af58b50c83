"""The exporters under what their units allow them, on a real coturn and Prosody, and beside a DNS server that hangs.

Each runs as its unit's user, on a read-only root and with a /proc that hides other users' processes. That takes root.
tests/live/test_disturbances.py has clocks that step, and a full disk for logs; the exporters write no files.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
import yaml

from lab.running.server import Workspace
from lab.running.workspace import ROOT
from lab.scraping import ScrapedPage, page
from lab.servers.coturn import Coturn
from lab.servers.exporters import ExporterProcess
from lab.servers.prosody import Prosody
from lab.users.turn import Allocations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="users, mounts and a DNS server take root")

MEMORY_MAX = 200_000  # kB: MemoryMax of the units, in powers of ten to be on the safe side
HANGING = 40  # names that are never answered; more than a machine has threads for them by default
KNOWN = "known.test"


def as_user(user: str) -> list[str]:
    """The command prefix that changes the user; one capability leads through directories that are closed to it."""
    reach = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--pdeathsig", "KILL", "--"]
    group = "nogroup" if user == "nobody" else user
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", *reach]


class UserCoturn(Coturn):
    """A coturn that runs as Debian's user of it."""

    def prepare(self) -> None:
        super().prepare()
        for path in (self.directory, *self.directory.rglob("*")):
            shutil.chown(path, "turnserver", "turnserver")

    def command(self) -> list[str]:
        return [*as_user("turnserver"), *super().command()]

    @property
    def version(self) -> tuple[int, ...]:
        return Coturn(self.lab).version


class UserProsody(Prosody):
    """A Prosody that runs as Debian's user of it."""

    def prepare(self) -> None:
        super().prepare()
        for path in (self.directory, *self.directory.rglob("*")):
            shutil.chown(path, "prosody", "prosody")

    def command(self) -> list[str]:
        return [*as_user("prosody"), *super().command()]


class Confined(ExporterProcess):
    """An exporter in a mount namespace of its own, with the rights of its unit."""

    user = "nobody"
    resolver = "127.0.0.1"

    def command(self) -> list[str]:
        (self.directory / "resolv.conf").write_text(f"nameserver {self.resolver}\noptions timeout:5 attempts:2\n")
        mounts = (
            "mount -t proc -o hidepid=invisible proc /proc"
            f" && mount --bind {self.directory}/resolv.conf /etc/resolv.conf"
            ' && mount -o remount,bind,ro / && exec "$@"'
        )
        return ["unshare", "--mount", "sh", "-c", mounts, "sh", *as_user(self.user), *super().command()]


class HangingDns:
    """A DNS server on port 53 of a loopback address: it answers for one name, and never for another."""

    def __enter__(self) -> Self:
        self.asked: set[str] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
        self._socket.bind((self.address, 53))
        threading.Thread(target=self._answer, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _answer(self) -> None:
        while True:
            try:
                question, client = self._socket.recvfrom(512)
            except OSError:
                return
            labels, at = [], 12
            while size := question[at]:
                labels.append(question[at + 1 : at + 1 + size].decode())
                at += 1 + size
            name = ".".join(labels)
            self.asked.add(name)
            if name != KNOWN:
                continue
            is_a = question[at + 1 : at + 3] == b"\0\1"
            header = question[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"  # RFC 1035 4.1.1
            record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1" if is_a else b""
            self._socket.sendto(header + question[12 : at + 5] + record, client)


class Stage:
    """Both servers and the three exporters."""

    def __init__(self, lab: Workspace, dns: HangingDns) -> None:
        self.dns = dns
        self.coturn = UserCoturn(lab, config="cli-password=lab")
        self.prosody = UserProsody(lab)
        self.coturn_exporter = Confined(lab, "coturn", "turn1", self._coturn_flags)
        self.prosody_exporter = Confined(lab, "prosody", "prosody1", self._prosody_flags)
        self.certificates = Confined(lab, "certificates", "monitoring", self._certificate_flags)
        self.exporters = (self.coturn_exporter, self.prosody_exporter, self.certificates)
        self.servers = (self.coturn, self.prosody)
        self.coturn_exporter.user, self.prosody_exporter.user = "turnserver", "prosody"
        self.certificates.resolver = dns.address
        self._ca = lab.directory / "ca.pem"

    def _coturn_flags(self) -> list[str]:
        return [f"--coturn.config={self.coturn.config_file}", "--coturn.probe-interval=1"]

    def _prosody_flags(self) -> list[str]:
        return [
            f"--prosody.socket={self.prosody.admin_socket}",
            f"--prosody.websocket-url={self.prosody.websocket_url}",
        ]

    def _certificate_flags(self) -> list[str]:
        targets: list[dict[str, object]] = [
            {"name": f"hanging-{number}", "kind": "tls", "address": f"hanging-{number}.test:443", "timeout": "2s"}
            for number in range(HANGING)
        ]
        known = {"server_name": "turn.commeazy.com", "ca": str(self._ca), "timeout": "2s"}
        targets.append({"name": "known", "kind": "tls", "address": f"{KNOWN}:{self.coturn.tls_port}", **known})
        config = self.certificates.directory / "certificates.yml"
        config.write_text(yaml.safe_dump({"targets": targets}))
        return [f"--config.file={config}", "--probe.interval=2s"]

    def up(self) -> dict[str, float]:
        pages = [ScrapedPage(page(exporter.url)) for exporter in (self.coturn_exporter, self.prosody_exporter)]
        values = {s.name: s.value for scrape in pages for s in scrape.samples if s.name in ("coturn_up", "prosody_up")}
        probed = ScrapedPage(page(self.certificates.url)).by("ssl_certificate_probe_success", "target")
        return values | probed


UP = {"coturn_up": 1, "prosody_up": 1, "known": 1}


def within(seconds: float, holds: Callable[[], object]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with HangingDns() as dns, Workspace() as lab:
        stage = Stage(lab, dns)
        for server in (*stage.servers, *stage.exporters):
            server.start()
        assert within(20, lambda: stage.up() == UP), stage.up()
        yield stage


def test_as_the_users_of_the_units_the_exporters_see_only_the_processes_of_their_servers(stage: Stage) -> None:
    scrape = ScrapedPage(page(stage.coturn_exporter.url))
    with Allocations(stage.coturn) as calls:
        calls.hold(3)
        scrape = ScrapedPage(page(stage.coturn_exporter.url))
    sources = {s.labels["source"]: s.value for s in scrape.samples if s.name == "coturn_active_allocations_source"}
    assert sources == {"cli": 3, "relay_ports": 3, "log": 3}
    assert scrape("coturn_open_fds") > 0
    assert ScrapedPage(page(stage.prosody_exporter.url))("prosody_open_fds") > 0
    for exporter in stage.exporters:
        root = f"/proc/{exporter.pid}/root"
        assert os.statvfs(root).f_flag & os.ST_RDONLY
        assert f"User={exporter.user}" in _unit(exporter.kind) or "DynamicUser=yes" in _unit(exporter.kind)
        assert "Traceback" not in exporter.log.read_text()


def _unit(kind: str) -> str:
    name = {"certificates": "certificate"}.get(kind, kind)
    return (ROOT / f"deploy/systemd/{name}-exporter.service").read_text()


def test_names_that_dns_never_answers_cost_no_other_target_its_probe(stage: Stage) -> None:
    assert within(20, lambda: len(stage.dns.asked) > HANGING), "every name is asked for"
    expected = {"known": 1, **{f"hanging-{number}": 0 for number in range(HANGING)}}
    assert within(20, lambda: _probed(stage) == expected), _probed(stage)
    until = time.monotonic() + 6
    while time.monotonic() < until:
        assert _probed(stage) == expected
        time.sleep(0.2)


def _probed(stage: Stage) -> dict[str, float]:
    samples = ScrapedPage(page(stage.certificates.url)).samples
    return {s.labels["target"]: s.value for s in samples if s.name == "ssl_certificate_probe_success"}


def test_frozen_and_thawed_an_exporter_goes_on_and_its_numbers_are_of_now(stage: Stage) -> None:
    with Allocations(stage.coturn) as calls:
        for exporter in stage.exporters:
            exporter.freeze()
        calls.hold(2)
        time.sleep(4)
        for exporter in stage.exporters:
            exporter.thaw()
        assert ScrapedPage(page(stage.coturn_exporter.url))("coturn_active_allocations") == 2
    assert within(5, lambda: stage.up() == UP), stage.up()


def test_a_server_that_is_restarted_in_mid_scrape_costs_no_page_and_no_traceback(stage: Stage) -> None:
    ended = threading.Event()
    answers: dict[str, list[str]] = {exporter.name: [] for exporter in stage.exporters}

    def scrape(exporter: ExporterProcess) -> None:
        while not ended.is_set():
            with urllib.request.urlopen(f"{exporter.url}/metrics", timeout=15) as answer:  # raises for an error page
                answers[exporter.name].append(answer.read().decode())
            time.sleep(0.02)

    threads = [threading.Thread(target=scrape, args=(exporter,)) for exporter in stage.exporters]
    for thread in threads:
        thread.start()
    for server in stage.servers:
        server.kill()
        server.start()
        server.restart()
    assert within(20, lambda: stage.up() == UP), stage.up()
    ended.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    for exporter in stage.exporters:
        assert len(answers[exporter.name]) > 10
        assert all(text.endswith("# EOF\n") or "\n# TYPE " in text for text in answers[exporter.name])
        assert 'reason="internal"} 1' not in answers[exporter.name][-1]
        assert "Traceback" not in exporter.log.read_text()


def test_the_most_memory_an_exporter_ever_had_is_below_its_units_limit(stage: Stage) -> None:
    stage.coturn_exporter.stop()
    with next(stage.coturn.log_folder.iterdir()).open("a") as log:  # more than the 64 MiB that are read back
        line = "1: session {:018}: new, realm=<commeazy.com>, username=<1:amy>, lifetime=600\n"
        for start in range(0, 900_000, 1000):
            log.write("".join(map(line.format, range(start, start + 1000))))
    stage.coturn_exporter.start()
    assert within(30, lambda: stage.up() == UP), stage.up()
    for exporter in stage.exporters:
        assert _peak(exporter.pid) < MEMORY_MAX, exporter.name


def _peak(pid: int) -> int:
    """The most resident memory that a process ever had, in kB."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])
