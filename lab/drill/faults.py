"""Ways to really break the lab, as context managers: entering breaks it, leaving repairs it. It names no alert.

An exception inside a fault skips the repair: the whole lab ends then.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil
import trustme

from lab.fakes.providers import Mood
from lab.servers.generator import Generator
from lab.servers.postgresql import SLOT
from lab.servers.prosody import DATABASE, DOMAIN
from lab.users.accounts import ask
from lab.users.turn import Allocations
from xmpp.client import Client
from xmpp.websocket import http_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiohttp import ClientSession

    from lab.running.server import Server
    from lab.servers.prosody import Prosody
    from lab.stack import Lab, Node


# Any server ------------------------------------------------------------------------------------------------------


@contextmanager
def killed(*servers: Server) -> Iterator[None]:
    """A power cut, and power again."""
    for server in servers:
        server.kill()
    yield
    for server in servers:
        server.start()


@contextmanager
def frozen(*servers: Server) -> Iterator[None]:
    """They hang: their sockets stay and nothing is answered."""
    for server in servers:
        server.freeze()
    yield
    for server in servers:
        server.thaw()


# Prosody ---------------------------------------------------------------------------------------------------------


@contextmanager
def crowd(prosody: Prosody, users: int, rate: float = 5.0) -> Iterator[None]:
    """So many more users, who do `rate` things a second between them."""
    generator = Generator([prosody], users, name="crowd")
    generator.rate = rate
    generator.start()
    yield
    generator.stop()


@contextmanager
def configured(node: Node, lines: str) -> Iterator[None]:
    """Somebody changed Prosody's configuration and reloaded it."""
    _reconfigure(node, lines)
    yield
    _reconfigure(node, "")


def _reconfigure(node: Node, lines: str) -> None:
    node.configure(lines)
    node.prosody.prepare()
    _shell(node.prosody, "config:reload()")


@contextmanager
def loaded(prosody: Prosody, module: str) -> Iterator[None]:
    """Somebody loaded a module."""
    _shell(prosody, f"module:load('{module}', '{DOMAIN}')")
    yield
    _shell(prosody, f"module:unload('{module}', '{DOMAIN}')")


_BLOCKED = "a drill blocks the event loop"


@contextmanager
def blocked(prosody: Prosody, seconds: float) -> Iterator[None]:
    """A module of Prosody works for so long in every turn of the event loop."""
    _shell(
        prosody,
        "> local timer, now = require 'prosody.util.timer', require 'prosody.util.time'.monotonic "
        f"local block = {{}} package.loaded['{_BLOCKED}'] = block "
        "timer.add_task(0, function () if block.over then return nil end "
        f"local free = now() + {seconds} while now() < free do end return 0 end) return true, 'blocked'",
    )
    yield
    _shell(prosody, f"> package.loaded['{_BLOCKED}'].over = true return true, 'free'")


@contextmanager
def all_blocked(lab: Lab) -> Iterator[None]:
    """Every Prosody works for a fifth of a second in every turn of its event loop."""
    with ExitStack() as nodes:
        for node in lab.nodes:
            nodes.enter_context(blocked(node.prosody, 0.2))
        yield


@contextmanager
def restarted_with(node: Node, lines: str) -> Iterator[None]:
    """Somebody changed Prosody's configuration and restarted it."""
    node.configure(lines)
    node.prosody.restart()
    yield
    node.configure("")
    node.prosody.restart()


@contextmanager
def older(prosody: Prosody) -> Iterator[None]:
    """Somebody installed Debian's Prosody on the node again."""
    prosody.binary = shutil.which("prosody")
    prosody.restart()
    yield
    prosody.binary = None
    prosody.restart()


@contextmanager
def unloaded(prosody: Prosody, module: str) -> Iterator[None]:
    """Somebody unloaded a module, or never loaded it."""
    _shell(prosody, f"module:unload('{module}', '{DOMAIN}')")
    yield
    _shell(prosody, f"module:load('{module}', '{DOMAIN}')")


@contextmanager
def ballast(prosody: Prosody, megabytes: int) -> Iterator[None]:
    """Something in Prosody holds memory and does not let go."""
    _shell(prosody, f"> rawset(_G, 'ballast', string.rep('x', {megabytes} * 1000000)) return true, 'held'")
    yield
    _shell(prosody, "> rawset(_G, 'ballast', nil) collectgarbage() return true, 'let go'")


def _shell(prosody: Prosody, command: str) -> None:
    asyncio.run(ask(prosody.admin_socket, command))


# The push gateway and its providers ------------------------------------------------------------------------------


@contextmanager
def providers(lab: Lab, mood: Mood) -> Iterator[None]:
    """Apple or Google refuse, or take their time."""
    lab.providers.behave(mood)
    yield
    lab.providers.behave(Mood())


@contextmanager
def deaf_phones(lab: Lab) -> Iterator[None]:
    """Apple and Google accept every push and deliver none."""
    lab.traffic.deaf_phones = True
    lab.traffic.restart()
    yield
    lab.traffic.deaf_phones = False
    lab.traffic.restart()


@contextmanager
def spoiled(lab: Lab, key: Path) -> Iterator[None]:
    """Somebody wrote a key file wrong and reloaded the gateways."""
    text = key.read_text()
    key.write_text("not a key\n")
    _reload_gateways(lab)
    yield
    key.write_text(text)
    _reload_gateways(lab)


def _reload_gateways(lab: Lab) -> None:
    for node in lab.nodes:
        os.kill(node.push_gateway.pid, signal.SIGHUP)


@contextmanager
def exposed(key: Path) -> Iterator[None]:
    """Somebody copied a key file without a thought for its mode."""
    key.chmod(0o644)
    yield
    key.chmod(0o600)


@contextmanager
def lost_canary(lab: Lab) -> Iterator[None]:
    """The gateway of the first node pushes to a test phone that is off."""
    gateway = lab.push_gateway
    canary = {"CANARY_FCM_TOKEN": "canary:APA91bF-test_phone", "CANARY_INTERVAL": "2s"}
    gateway.settings |= canary
    gateway.restart()
    yield
    for name in canary:
        del gateway.settings[name]
    gateway.restart()


@contextmanager
def another_secret(lab: Lab) -> Iterator[None]:
    """The gateway of the first node was given a new secret, and Prosody was not."""
    gateway = lab.push_gateway
    gateway.settings["PUSH_SECRET"] = "another-secret"  # noqa: S105 - guards nothing
    gateway.restart()
    yield
    del gateway.settings["PUSH_SECRET"]
    gateway.restart()


@contextmanager
def crash_loop(lab: Lab, server: Server, times: int) -> Iterator[None]:
    """It dies again and again, and lives long enough in between to be scraped."""
    for _ in range(times):
        server.kill()
        server.start()
        time.sleep(2 * lab.prometheus.interval)
    yield


@contextmanager
def half_requests(server: Server, port: int, count: int) -> Iterator[None]:
    """So many clients that never finish their request; what they cost comes back with a restart only."""
    head = b"POST /push HTTP/1.1\r\nHost: lab\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n"
    with ExitStack() as clients:
        for _ in range(count):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            client.sendall(head + b" " * 4000)
        yield
    server.restart()


# HAProxy and certificates ----------------------------------------------------------------------------------------


@contextmanager
def drained(lab: Lab, node: str) -> Iterator[None]:
    """Somebody took a node out of the backend and forgot it."""
    lab.haproxy.tell(f"set server prosody_ws/{node} state maint")
    yield
    lab.haproxy.tell(f"set server prosody_ws/{node} state ready")


@contextmanager
def all_drained(lab: Lab) -> Iterator[None]:
    """Planned work on every node at once."""
    with ExitStack() as nodes:
        for node in lab.nodes:
            nodes.enter_context(drained(lab, node.prosody.name))
        yield


@contextmanager
def unreachable(lab: Lab, node: Node) -> Iterator[None]:
    """The way from HAProxy to one Prosody is cut; Prosody itself is well."""
    server = f"prosody_ws/{node.prosody.name}"
    lab.haproxy.tell(f"set server {server} addr 127.0.0.1 port 1")
    yield
    lab.haproxy.tell(f"set server {server} addr 127.0.0.1 port {node.prosody.http_port}")


@contextmanager
def closed_door(lab: Lab) -> Iterator[None]:
    """The users' way in takes no connection."""
    lab.haproxy.tell("disable frontend wss_frontend")
    yield
    lab.haproxy.tell("enable frontend wss_frontend")


@contextmanager
def served(lab: Lab, *, days: float = 90, trusted: bool = True) -> Iterator[None]:
    """HAProxy serves a certificate that ends soon, or one of an authority that nobody knows."""
    lab.haproxy.write_certificate(valid=timedelta(days=days), authority=None if trusted else trustme.CA())
    lab.haproxy.reload()
    yield
    lab.haproxy.write_certificate()
    lab.haproxy.reload()


@contextmanager
def not_reloaded(lab: Lab) -> Iterator[None]:
    """The certificate was renewed, and HAProxy still serves the old one."""
    lab.haproxy.write_certificate()
    yield
    lab.haproxy.reload()


# PostgreSQL ------------------------------------------------------------------------------------------------------


@contextmanager
def primary_lost(lab: Lab) -> Iterator[None]:
    """The primary is gone, with whoever worked on it."""
    lab.queries.stop()
    with killed(lab.postgresql):
        yield
    lab.queries.start()


@contextmanager
def replica_cut_off(lab: Lab) -> Iterator[None]:
    """The replica runs and does not find its primary."""
    primary = lab.replica.ask("SHOW primary_conninfo")
    _follow(lab, "host=127.0.0.1 port=1")
    yield
    _follow(lab, primary)


def _follow(lab: Lab, primary: str) -> None:
    quoted = primary.replace("'", "''")
    lab.replica.ask(f"ALTER SYSTEM SET primary_conninfo = '{quoted}'")
    lab.replica.ask("SELECT pg_reload_conf()")


@contextmanager
def replica_behind(lab: Lab) -> Iterator[None]:
    """The replica's receiver hangs while the primary writes 30 MB."""
    receivers = [
        process
        for process in psutil.Process(lab.replica.pid).children()
        if "walreceiver" in " ".join(process.cmdline())
    ]
    assert receivers, "the replica streams"
    for receiver in receivers:
        receiver.suspend()
    lab.postgresql.ask("CREATE TABLE ballast AS SELECT repeat('x', 1000) FROM generate_series(1, 30000)")
    yield
    for receiver in receivers:
        receiver.resume()
    lab.postgresql.ask("DROP TABLE ballast")


@contextmanager
def accounts_gone(lab: Lab) -> Iterator[None]:
    """Somebody renamed the table that Prosody keeps its accounts in."""
    lab.postgresql.ask("ALTER TABLE prosody RENAME TO prosody_elsewhere", DATABASE)
    yield
    lab.postgresql.ask("ALTER TABLE prosody_elsewhere RENAME TO prosody", DATABASE)


@contextmanager
def replica_promoted(lab: Lab) -> Iterator[None]:
    """Somebody promoted the replica while the primary went on; it is made again from the primary afterwards."""
    lab.replica.ask("SELECT pg_promote()")
    yield
    lab.replica.stop()
    shutil.rmtree(lab.replica.directory / "data")
    lab.postgresql.ask(f"SELECT pg_drop_replication_slot('{SLOT}')")
    lab.replica.start()


@contextmanager
def unused_slot(lab: Lab) -> Iterator[None]:
    """A replication slot that keeps no WAL."""
    lab.postgresql.ask("SELECT pg_create_physical_replication_slot('unused')")
    yield
    lab.postgresql.ask("SELECT pg_drop_replication_slot('unused')")


# coturn ----------------------------------------------------------------------------------------------------------


@contextmanager
def allocated(lab: Lab, count: int) -> Iterator[None]:
    """So many calls, in place of those that come and go."""
    lab.calls.stop()
    with Allocations(lab.coturn) as calls:
        calls.hold(count)
        yield
    lab.calls.start()


@contextmanager
def few_ports(lab: Lab) -> Iterator[None]:
    """Somebody left coturn hardly any relay ports."""
    config = lab.coturn.config
    lab.coturn.config = f"{config}\nmin-port=61100\nmax-port=61103"
    lab.coturn.restart()
    yield
    lab.coturn.config = config
    lab.coturn.restart()


# The monitoring itself -------------------------------------------------------------------------------------------


@contextmanager
def blind(node: Node) -> Iterator[None]:
    """The exporter runs without its counting script."""
    flags = node.exporter.flags
    node.exporter.flags = lambda: [*flags(), "--prosody.instrument=off"]
    node.exporter.restart()
    yield
    node.exporter.flags = flags
    node.exporter.restart()


@contextmanager
def deaf(node: Node) -> Iterator[None]:
    """The exporter's WebSocket connection leads to a closed port."""
    flags = node.exporter.flags
    node.exporter.flags = lambda: [*flags(), "--prosody.websocket-url=http://127.0.0.1:1/xmpp-websocket"]
    node.exporter.restart()
    yield
    node.exporter.flags = flags
    node.exporter.restart()


@contextmanager
def no_targets(lab: Lab, job: str) -> Iterator[None]:
    """Somebody emptied a target file."""
    (lab.prometheus.directory / f"targets/{job}.yml").write_text("[]\n")
    yield
    lab.prometheus.write_targets()


@contextmanager
def duplicated(lab: Lab, job: str) -> Iterator[None]:
    """Somebody listed the target of a job twice, by two addresses and under one name."""
    file = lab.prometheus.directory / f"targets/{job}.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text + text.replace("127.0.0.1", "localhost"), encoding="utf-8")
    yield
    lab.prometheus.write_targets()


@contextmanager
def broken_targets(lab: Lab, job: str) -> Iterator[None]:
    """Somebody saved a target file that is no YAML."""
    (lab.prometheus.directory / f"targets/{job}.yml").write_text("- targets: [\n", encoding="utf-8")
    yield
    lab.prometheus.write_targets()


@contextmanager
def broken_configuration(lab: Lab) -> Iterator[None]:
    """Somebody saved a prometheus.yml that Prometheus cannot read, and reloaded it."""
    file = lab.prometheus.directory / "prometheus.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{text}\nno_such_section: true\n", encoding="utf-8")
    lab.prometheus.reload()
    yield
    file.write_text(text, encoding="utf-8")
    lab.prometheus.reload()


@contextmanager
def failing_rule(lab: Lab) -> Iterator[None]:
    """Somebody added a rule that matches many series with many."""
    file = lab.prometheus.directory / "rules/mine.yaml"
    file.write_text(
        "groups: [{name: mine, rules: [{record: mine, expr: up * on (job) group_left up * on () group_right up}]}]\n",
        encoding="utf-8",
    )
    lab.prometheus.reload()
    yield
    file.unlink()
    lab.prometheus.reload()


@contextmanager
def flapping(lab: Lab, server: Server, times: int) -> Iterator[None]:
    """It goes away and comes back, each time for a scrape or two."""
    for _ in range(times):
        server.kill()
        time.sleep(2 * lab.prometheus.interval)
        server.start()
        time.sleep(2 * lab.prometheus.interval)
    yield


@contextmanager
def refused_tickets(lab: Lab) -> Iterator[None]:
    """The ticket service answers 403, and there is something to tell it."""
    lab.receivers.refuse("ticket")
    with unused_slot(lab):
        yield
        lab.receivers.refuse()


# Test users ------------------------------------------------------------------------------------------------------


@contextmanager
def starved(server: Server) -> Iterator[None]:
    """It gets a fifth of the time it needs."""
    over = threading.Event()

    def stop_and_go() -> None:
        while not over.wait(0.6):
            server.freeze()
            over.wait(2.4)
            server.thaw()

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    yield
    over.set()
    thread.join()


@contextmanager
def thief(lab: Lab) -> Iterator[None]:
    """Somebody has the password of a test user, and uses it."""
    account = "synthetic-sender"
    with asyncio.Runner() as loop:
        http = loop.run(_session())
        client = Client(lab.prosody.endpoints(), account, lab.synthetic.passwords[account], http=http, resource="thief")
        loop.run(client.login())
        yield
        loop.run(client.disconnect())
        loop.run(http.close())


async def _session() -> ClientSession:
    return http_session()
