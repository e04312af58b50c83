"""Ways to break HAProxy, certificates, PostgreSQL and coturn; see faults.py."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil
import trustme

from lab.drill.faults import killed
from lab.servers.postgresql import SLOT
from lab.servers.prosody import DATABASE
from lab.users.turn import Allocations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.stack import Lab, Node


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
