"""What leaves a host by deploy/rsyslog: real lines of the services, without personal data, also after an outage."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from check.logs import count
from lab.fakes.recordings import FOLDER
from lab.running.server import Workspace
from lab.servers.rsyslog import LogShipper, LogStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RECORDED = FOLDER / "logs"  # of the demo; its users' address 127.0.0.1 is 93.184.216.34 there
# What a line says stays.
KEPT = (
    "Push notifications enabled for [user]",
    "c2s55ee0f165610            info Client disconnected: connection closed",
    "session 001000000000000003: realm [user] user [user]: incoming packet ALLOCATE processed, success",
    '101 2764 - - SD-- 2/2/0/0/0 0/0 "GET /xmpp-websocket HTTP/1.1"',
    "logger=gateway.handler msg=push handler=fcm type=message token=0c20ab outcome=sent ms=5.8",
)
# What these programs and others write in other cases: the line, and what must be gone of it.
OTHERS = (
    ("Error reading push notification storage for user 'zoe': no such table", "zoe"),
    ("save of roster for älïce@commeazy.com failed", "ïce"),
    ("stanza from zoe\\20b@commeazy.com/Phone of Zoe B to yves@commeazy.com", "Zoe B"),
    ('2001:db8:77::1:4711 "GET /xmpp-websocket?user=zoe&token=abc HTTP/1.1"', "zoe"),
    ("remote [2001:db8:0:1:2:3:4:77]:443, mapped ::ffff:93.184.216.34", ":4:77"),
    ("refused eKd3_-fU1234:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx", "eKd3"),
    ("SASL response biwsbj16b2UscjtmeWtvK2QybGJiRmdPTlJ2OXFreGRhd0w= invalid", "biws"),
    ("Authorization: Bearer abc.def", "abc.def"),
    ('connected with password="hunter2" to zoe%40commeazy.com', "hunter2"),
    ("session closed, user <1795913781:zoe> realm <commeazy.com>", "zoe"),
    ('back\\slash, "quote", tab\tand a jid "zoe@commeazy.com"', "zoe"),
)
STATEMENT = (
    '2026-11-29 01:00:00.000 UTC [1] prosody@prosody ERROR:  duplicate key value violates unique constraint "k"\n'
    '2026-11-29 01:00:00.000 UTC [1] prosody@prosody DETAIL:  Key (host, "user")=(commeazy.com, zoe) already exists.\n'
    "2026-11-29 01:00:00.000 UTC [1] prosody@prosody STATEMENT:  INSERT INTO prosody\n\tVALUES ('zoe', 'xyzzy')\n"
    "2026-11-29 01:00:01.000 UTC [1] LOG:  checkpoint starting: time\n"
)
# Times, units, long names and short ends of tokens are nobody's.
HARMLESS = (
    "took 12:34:56 at 2026-11-29T01:43:20.958Z",
    "Started postgresql@15-main.service - PostgreSQL Cluster 15-main.",
    "prometheus-node-exporter-ipmitool-sensor.service: Deactivated successfully.",
    "prosody 13.0.6 and haproxy 2.6.12-1+deb12u2",
)


@pytest.fixture(scope="module")
def store() -> Iterator[LogStore]:
    with Workspace() as lab:
        store = LogStore(lab)
        store.start()
        yield store


@pytest.fixture(scope="module")
def shipper(store: LogStore) -> LogShipper:
    """A host with the services' files as they were recorded."""
    shipper = LogShipper(store)
    for name, folder in (("prosody.log", "prosody/prosody.log"), ("coturn.log", "turnserver/turn.log")):
        file = shipper.files / folder
        file.parent.mkdir(parents=True)
        file.write_bytes((RECORDED / name).read_bytes())
    (shipper.files / "postgresql").mkdir()
    (shipper.files / "postgresql/postgresql-15-main.log").write_text(STATEMENT)
    shipper.start()
    return shipper


def _say(shipper: LogShipper, program: str, *lines: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.connect(shipper.address)
        for line in lines:
            journal.send(f"<134>Nov 29 01:00:00 {program}[12]: {line}".encode())


def _until(holds: Callable[[], bool], store: LogStore) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline, store.read()[-3000:]
        time.sleep(0.1)


def _told(file: Path) -> dict[str, float]:
    return {
        sample.labels["host"]: sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }


def test_real_lines_arrive_without_personal_data(store: LogStore, shipper: LogShipper, tmp_path: Path) -> None:
    recorded = b"".join(file.read_bytes() for file in RECORDED.iterdir())
    found = count(recorded.splitlines()).found
    assert all(found.values()), "else nothing is tried"
    _say(shipper, "haproxy", *(RECORDED / "haproxy.log").read_text().splitlines())
    _say(shipper, "push-gateway", *(RECORDED / "gateway.log").read_text().splitlines())
    _say(shipper, "others", *(line for line, _ in OTHERS), *HARMLESS)
    last = [*KEPT, *HARMLESS, "checkpoint starting: time"]
    _until(lambda: all(each in store.read() for each in last), store)
    arrived = store.read()
    lines = len(recorded.splitlines()) + len(OTHERS) + len(HARMLESS) + 4
    _until(lambda: len(store.read().splitlines()) >= lines, store)
    assert count(store.read().encode().splitlines()).found == dict.fromkeys(found, 0)
    assert "93.184" not in arrived
    assert not [gone for _, gone in OTHERS if gone in arrived]
    assert "for user 'zoe'" in shipper.local.read_text(), "what stays on the host stays whole"
    assert not [gone for gone in ("zoe", "xyzzy", "bob", "alice", "user12") if gone in arrived]
    store.tell_ages(tmp_path)
    (host,) = (file.stem for file in store.folder.iterdir())
    assert _told(tmp_path / "log-ages.prom")[host] == int((store.folder / f"{host}.log").stat().st_mtime)


def test_what_is_written_while_the_store_is_away_arrives_later(store: LogStore, shipper: LogShipper) -> None:
    store.stop()
    lines = [f"written in the outage, number {number};" for number in range(200)]
    _say(shipper, "others", "the first line may be lost with the connection;", *lines)
    store.start()
    _until(lambda: all(line in store.read() for line in lines), store)


def test_without_the_filter_nothing_leaves_the_host(store: LogStore, shipper: LogShipper, tmp_path: Path) -> None:
    whole = shipper.filter
    for broken in (tmp_path / "missing.sed", tmp_path / "wrong.sed"):
        (tmp_path / "wrong.sed").write_text("s/[/x/\n")
        shipper.filter = broken
        shipper.restart()
        _say(shipper, "others", f"unfiltered by {broken.stem}")
        time.sleep(0.5)  # a line takes milliseconds; it must be seen not to come
    shipper.filter = whole
    shipper.restart()
    _say(shipper, "others", "filtered again")
    _until(lambda: "filtered again" in store.read(), store)
    assert "unfiltered" not in store.read()


def test_a_host_named_like_a_path_or_a_label_gets_no_metric(tmp_path: Path, store: LogStore) -> None:
    store.folder.mkdir(exist_ok=True)
    for name in ('a"b.log', "no-log.txt"):
        (store.folder / name).touch()
    store.tell_ages(tmp_path)
    assert [host for host in _told(tmp_path / "log-ages.prom") if not host.replace("-", "").isalnum()] == []
