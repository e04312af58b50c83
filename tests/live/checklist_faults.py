"""Ways to break one thing of the checklist's lab, as context managers: entering breaks it, leaving repairs it.

They name no item; tests/live/checklist_table.py says which item fails.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import yaml

from lab.drill import faults
from lab.servers.prosody import DATABASE, DOMAIN
from tests.live.checklist_lab import OldTls
from tests.live.checklist_lab import unit as say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.live.checklist_lab import Stage

_DROP = """
local events = prosody.hosts["commeazy.com"].events;
local function drop(event)
    local stanza = event.stanza;
    local from = stanza.attr.from or "";
    if from:find("^synthetic%%-") and (%s) then return true; end
end
package.loaded["lab.drop"] = drop;
for _, kind in ipairs { "presence/bare", "presence/full", "message/full", "message/bare" } do
    events.add_handler(kind, drop, 1000);
end
"""
_STOP_DROPPING = """
local events = prosody.hosts["commeazy.com"].events;
for _, kind in ipairs { "presence/bare", "presence/full", "message/full", "message/bare" } do
    events.remove_handler(kind, package.loaded["lab.drop"]);
end
"""


def reloaded(line: str) -> Callable[[Stage], AbstractContextManager[None]]:
    return lambda stage: faults.configured(stage.lab.nodes[0], f"{line}\n")


def turn(line: str) -> Callable[[Stage], AbstractContextManager[None]]:
    """Somebody changed a setting of mod_turn_external, which reads it only when it is loaded."""

    @contextmanager
    def breaking(stage: Stage) -> Iterator[None]:
        again = f'require "prosody.core.modulemanager".reload("{DOMAIN}", "turn_external")'
        with reloaded(line)(stage):
            stage.lua(stage.lab.prosody, again)
            yield
        stage.lua(stage.lab.prosody, again)

    return breaking


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


# A source that is away ---------------------------------------------------------------------------------------------


@contextmanager
def locked_out(stage: Stage) -> Iterator[None]:
    """The checklist's account may not log in to the database."""
    stage.lab.postgresql.ask("ALTER ROLE commeazy_check NOLOGIN")
    yield
    stage.lab.postgresql.ask("ALTER ROLE commeazy_check LOGIN")


@contextmanager
def no_grafana(stage: Stage) -> Iterator[None]:
    """Grafana does not answer."""
    url, stage.grafana_url = stage.grafana_url, "http://127.0.0.1:1"
    yield
    stage.grafana_url = url


@contextmanager
def old_facts(stage: Stage) -> Iterator[None]:
    """The timer on the hosts has not run for four hours."""
    stage.facts_age = 4 * 3600.0
    yield
    stage.facts_age = 0.0
