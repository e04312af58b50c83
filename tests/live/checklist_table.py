"""The checklist against real servers: one thing is broken, and exactly one item fails; a source is gone: it is unknown.

It is for `make checklist` and no part of `make test`: it takes half an hour, and a machine without load.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import yaml

from lab.drill import faults, monitoring_faults, push_faults, server_faults
from lab.fakes.providers import Mood
from lab.servers.prosody import DATABASE, DOMAIN
from tests.live.checklist_lab import ITEMS, OldTls, Stage, stage
from tests.live.checklist_lab import unit as say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from check.judging import Finding

pytestmark = pytest.mark.timeout(1800)
_DROP = """
local events = prosody.hosts["commeazy.com"].events;
local function drop(event)
    local stanza = event.stanza;
    local from = stanza.attr.from or "";
    if from:find("^synthetic%%-") and (%s) then return true; end
end
package.loaded["lab.drop"] = drop;
for _, kind in ipairs { "presence/bare", "message/full", "message/bare" } do events.add_handler(kind, drop, 1000); end
"""
_STOP_DROPPING = """
local events = prosody.hosts["commeazy.com"].events;
for _, kind in ipairs { "presence/bare", "message/full", "message/bare" } do
    events.remove_handler(kind, package.loaded["lab.drop"]);
end
"""


@pytest.fixture(scope="module")
def broken() -> Iterator[Stage]:
    """Run the lab, all right; each test puts right what it breaks."""
    with stage() as made:
        made.until(_right)
        yield made


def _right(found: dict[str, Finding]) -> bool:
    return all(finding.status in ("ok", "YOURS") for finding in found.values())


@dataclass(frozen=True)
class Break:
    """How one item is broken.

    Args:
        item: its id.
        breaking: does it on entering and undoes it on leaving.
        also: what cannot but fail with it, and why.
    """

    item: str
    breaking: Callable[[Stage], AbstractContextManager[None]]
    also: tuple[str, ...] = ()
    why: str = ""


def reloaded(line: str) -> Callable[[Stage], AbstractContextManager[None]]:
    return lambda stage: faults.configured(stage.lab.nodes[0], f"{line}\n")


@contextmanager
def old_prosody(stage: Stage) -> Iterator[None]:
    version = stage.lua(stage.lab.prosody, "return prosody.version")
    stage.lua(stage.lab.prosody, 'prosody.version = "13.0.1"')
    yield
    stage.lua(stage.lab.prosody, f'prosody.version = "{version}"')


@contextmanager
def maintenance(stage: Stage) -> Iterator[None]:
    stage.lab.haproxy.tell("disable server prosody_ws/prosody2")
    yield
    stage.lab.haproxy.tell("enable server prosody_ws/prosody2")


@contextmanager
def open_port(stage: Stage) -> Iterator[None]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", stage.closed))
        listener.listen()
        yield


def answering(address: str, ttl: int) -> Callable[[Stage], AbstractContextManager[None]]:
    @contextmanager
    def breaking(stage: Stage) -> Iterator[None]:
        before = stage.names.answer
        stage.names.answer = (address, ttl)
        stage.names.restart()
        yield
        stage.names.answer = before
        stage.names.restart()

    return breaking


@contextmanager
def expired(stage: Stage) -> Iterator[None]:
    file = stage.lab.directory / "certificates" / "old.crt"
    leaf = stage.lab.authority.issue_cert(
        DOMAIN, not_before=datetime.now(UTC) - timedelta(days=9), not_after=datetime.now(UTC) - timedelta(days=1)
    )
    leaf.cert_chain_pems[0].write_to_path(str(file))
    yield
    file.unlink()


def old_tls(name: str, *flags: str) -> Callable[[Stage], AbstractContextManager[None]]:
    @contextmanager
    def breaking(stage: Stage) -> Iterator[None]:
        server = OldTls(stage.lab, name, *flags)
        exporter = stage.lab.certificate_exporter
        server.start()
        text = exporter.config_file.read_text()
        targets = yaml.safe_load(text)["targets"]
        ca = str(stage.lab.directory / "ca.pem")
        targets.append({"name": name, "kind": "tls", "address": server.address, "server_name": DOMAIN, "ca": ca})
        exporter.config_file.write_text(yaml.safe_dump({"targets": targets}))
        os.kill(exporter.pid, signal.SIGHUP)
        yield
        exporter.config_file.write_text(text)
        os.kill(exporter.pid, signal.SIGHUP)
        server.stop()

    return breaking


def rows(insert: str, delete: str) -> Callable[[Stage], AbstractContextManager[None]]:
    @contextmanager
    def breaking(stage: Stage) -> Iterator[None]:
        stage.lab.postgresql.ask(insert, DATABASE)
        yield
        stage.lab.postgresql.ask(delete, DATABASE)

    return breaking


def dropping(condition: str) -> Callable[[Stage], AbstractContextManager[None]]:
    """Prosody loses some stanzas of the test users."""

    @contextmanager
    def breaking(stage: Stage) -> Iterator[None]:
        for node in stage.lab.nodes:
            stage.lua(node.prosody, _DROP % condition)
        yield
        for node in stage.lab.nodes:
            stage.lua(node.prosody, _STOP_DROPPING)

    return breaking


def unit(name: str, **properties: str) -> Callable[[Stage], AbstractContextManager[None]]:
    @contextmanager
    def breaking(stage: Stage) -> Iterator[None]:
        say(stage.host, name, **properties)
        yield
        say(stage.host, name)

    return breaking


@contextmanager
def readable_key(stage: Stage) -> Iterator[None]:
    key = stage.host / "etc/commeazy/push.p8"
    key.chmod(0o640)
    yield
    key.chmod(0o600)


@contextmanager
def talkative(stage: Stage) -> Iterator[None]:
    journal = stage.host / "journal"
    journal.write_text("pushed to alice@commeazy.com\n")
    yield
    journal.write_text("")


@contextmanager
def not_rotated(stage: Stage) -> Iterator[None]:
    log = stage.host / "var/log/prosody/prosody.warn"
    log.touch()
    yield
    log.unlink()


@contextmanager
def no_target(stage: Stage) -> Iterator[None]:
    file = stage.lab.prometheus.directory / "targets" / "prometheus.yml"
    text = file.read_text()
    groups = [*yaml.safe_load(text), {"targets": ["127.0.0.1:1"], "labels": {"instance": "gone"}}]
    file.write_text(yaml.safe_dump(groups))
    yield
    file.write_text(text)


@contextmanager
def missing_dashboard(stage: Stage) -> Iterator[None]:
    stage.grafana.dashboards["coturn"] = False
    yield
    stage.grafana.dashboards["coturn"] = True


@contextmanager
def missing_rules(stage: Stage) -> Iterator[None]:
    file = stage.lab.prometheus.directory / "rules" / "panels.yaml"
    text = file.read_text()
    file.unlink()
    stage.lab.prometheus.reload()
    yield
    file.write_text(text)
    stage.lab.prometheus.reload()


def coturn(*lines: str) -> Callable[[Stage], AbstractContextManager[None]]:
    @contextmanager
    def breaking(stage: Stage) -> Iterator[None]:
        before = stage.lab.coturn.config
        stage.lab.coturn.config = "\n".join([before, *lines])
        stage.lab.coturn.restart()
        yield
        stage.lab.coturn.config = before
        stage.lab.coturn.restart()

    return breaking


@contextmanager
def old_backup(stage: Stage) -> Iterator[None]:
    before, stage.backup_age = stage.backup_age, 30 * 3600.0
    yield
    stage.backup_age = before


@contextmanager
def archived(stage: Stage) -> Iterator[None]:
    """mod_mam that stores nothing, so that the promise of J2 is kept."""
    with ExitStack() as both:
        both.enter_context(faults.configured(stage.lab.nodes[0], "default_archive_policy = false\n"))
        both.enter_context(faults.loaded(stage.lab.prosody, "mam"))
        yield


_PLAIN = (
    'INSERT INTO prosody (host, "user", store, key, type, value) '
    "VALUES ('{0}', 'plain', 'accounts', 'password', 'string', 'x')"
)
_NO_PLAIN = "DELETE FROM prosody WHERE \"user\" = 'plain'"
_KEPT = (
    'INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value) '
    "VALUES ('{0}', 'alice', 'archive', 'a', 1, 'b', 'xml', '<message/>')"
)
BREAKS = (
    Break("A1", old_prosody),
    Break("A2", lambda stage: faults.killed(stage.lab.replica)),
    Break("A3", lambda stage: server_faults.replica_behind(stage.lab)),
    Break("A4", maintenance),
    Break("A6", open_port),
    Break("A7", answering("192.0.2.99", 60)),
    Break("A8", answering("192.0.2.10", 3600)),
    Break("B1", expired),
    Break("B2", unit("certbot.timer", ActiveState="inactive")),
    Break("B3", old_tls("tls1", "-tls1", "-cipher", "ALL:@SECLEVEL=0")),
    Break("B4", old_tls("cbc", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256")),
    Break("B5", reloaded("c2s_require_encryption = false")),
    Break("B6", reloaded("s2s_require_encryption = false")),
    Break("B7", reloaded("allow_registration = true")),
    Break("C2", rows(_PLAIN.format(DOMAIN), _NO_PLAIN)),
    Break("C4", reloaded('admins = { "admin@commeazy.com" }')),
    Break("D1", reloaded("network_settings = { read_timeout = 61 }")),
    Break("D2", reloaded("smacks_hibernation_time = 31")),
    Break("D3", dropping('stanza.attr.type == "unavailable"')),
    Break("D4", dropping('stanza.name == "presence" and not stanza.attr.type and not stanza:get_child("show")')),
    Break("D5", dropping('stanza.name == "presence" and stanza:get_child_text("show") == "away"')),
    Break(
        "E1",
        lambda stage: faults.killed(stage.lab.push_gateway),
        ("G1",),
        "what does not run cannot be scraped, either",
    ),
    Break("E2", unit("push-gateway.service", Restart="no")),
    Break("E3", unit("push-gateway.service", UnitFileState="disabled")),
    Break("E4", lambda stage: push_faults.spoiled(stage.lab, stage.lab.providers.key_path)),
    Break(
        "E6",
        lambda stage: push_faults.providers(stage.lab, Mood(losing=1)),
        ("E12",),
        "a phone that is deaf hears neither kind of push",
    ),
    Break("E7", lambda stage: push_faults.spoiled(stage.lab, stage.lab.providers.account_path)),
    Break("E9", lambda stage: push_faults.another_secret(stage.lab)),
    Break(
        "E12",
        lambda stage: push_faults.providers(stage.lab, Mood(losing=1)),
        ("E6",),
        "a phone that is deaf hears neither kind of push",
    ),
    Break("E13", reloaded("push_notification_with_body = true")),
    Break("E14", readable_key),
    Break("E15", talkative),
    Break("F1", coturn("no-stun")),
    Break("F2", coturn("stun-only")),
    Break("F3", reloaded('turn_external_secret = "another"')),
    Break("F4", reloaded("turn_external_ttl = 3600")),
    Break("G1", no_target),
    Break("G2", missing_dashboard),
    Break("G3", missing_rules),
    Break("G5", not_rotated),
    Break("H5", unit("push-gateway.service", ActiveEnterTimestampMonotonic="9000000")),
    Break("H7", dropping('stanza.name == "message"')),
    Break("H8", lambda stage: push_faults.providers(stage.lab, Mood(delay=3.0))),
    Break("H9", lambda stage: faults.ballast(stage.lab.prosody, 100)),
    Break("I1", old_backup),
    Break("J1", archived),
    Break("J2", rows(_KEPT.format(DOMAIN), "DELETE FROM prosodyarchive WHERE store = 'archive'")),
)


@pytest.mark.parametrize("case", BREAKS, ids=lambda each: each.item)
def test_one_thing_broken_is_one_item_that_fails_and_repaired_it_is_right_again(broken: Stage, case: Break) -> None:
    began = time.monotonic()
    wanted = {case.item, *case.also}
    with case.breaking(broken):
        found = broken.until(lambda found: {key for key, each in found.items() if each.status == "FAIL"} == wanted)
        assert found[case.item].detail
        seen = time.monotonic() - began
        broken.until(lambda _: broken.recorded().get(case.item) == 0)
    broken.until(_right)
    print(f"{case.item}: FAIL after {seen:.0f} s, {found[case.item]}")  # noqa: T201 - what make checklist shows


_SOURCES: dict[str, Callable[[Stage], AbstractContextManager[None]]] = {
    "prosody": lambda stage: faults.killed(stage.lab.nodes[0].exporter),
    "postgresql": lambda stage: faults.killed(*stage.lab.postgres_exporters),
    "coturn": lambda stage: faults.killed(stage.lab.coturn_exporter),
    "certificates": lambda stage: faults.killed(stage.lab.certificate_exporter),
    "synthetic": lambda stage: faults.killed(stage.lab.synthetic),
    "haproxy": lambda stage: monitoring_faults.no_targets(stage.lab, "haproxy"),
    "push-gateway": lambda stage: monitoring_faults.no_targets(stage.lab, "push-gateway"),
}


@pytest.mark.parametrize("job", _SOURCES)
def test_a_source_that_is_away_makes_its_items_unknown_and_nothing_that_is_not_known_is_right(
    broken: Stage, job: str
) -> None:
    needing = {item.id for item in ITEMS if any(need.job == job for need in item.needs)}
    with _SOURCES[job](broken):
        found = broken.until(lambda found: all(found[key].status == "UNKNOWN" for key in needing - {"E1"}))
        broken.until(lambda _: not (needing - {"E1"}) & set(broken.recorded()))
    assert {key for key, each in found.items() if each.status == "FAIL"} <= {"G1", "E1"}
    broken.until(_right)


def test_old_facts_of_a_host_are_no_facts(broken: Stage) -> None:
    of_hosts = {item.id for item in ITEMS if "host_facts" in item.unknown}
    broken.facts_age = 4 * 3600.0
    broken.until(lambda found: all(found[key].status == "UNKNOWN" for key in of_hosts))
    broken.facts_age = 0.0
    broken.until(_right)


def test_what_a_probe_cannot_ask_is_unknown(broken: Stage) -> None:
    with faults.killed(broken.names):
        found = broken.until(lambda found: found["A7"].status == "UNKNOWN")
    assert found["A8"].status == "UNKNOWN"
    assert "no answer in time" in found["A8"].detail or "cannot be asked" in found["A8"].detail
    broken.until(_right)
