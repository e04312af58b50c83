"""Ways to break PostgreSQL, its replica and its archive; see faults.py."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from lab.drill.faults import killed
from lab.servers.postgresql import SLOT
from lab.servers.prosody import DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.stack import Lab


@contextmanager
def primary_lost(lab: Lab) -> Iterator[None]:
    """The primary is gone, and with it the clients that used it."""
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


@contextmanager
def connected(lab: Lab, count: int) -> Iterator[None]:
    """A program holds so many connections."""
    server = lab.postgresql
    command = [
        server.program("pgbench"),
        *server.connection,
        "-n",
        "-c",
        str(count),
        "-R",
        "1",
        "-T",
        "600",
        "postgres",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as clients:
        yield
        clients.terminate()


@contextmanager
def open_transaction(lab: Lab) -> Iterator[None]:
    """Somebody's transaction does not end."""
    server = lab.postgresql
    command = [server.program("psql"), *server.connection, "-d", "postgres", "-c", "SELECT pg_sleep(600)"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        yield
        server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'")
        client.wait(30)


@contextmanager
def archived_by(lab: Lab, command: str) -> Iterator[None]:
    """Somebody gave PostgreSQL this archive_command."""
    server = lab.postgresql
    before = server.ask("SHOW archive_command")
    _archive(lab, command)
    yield
    _archive(lab, before)
    for child in psutil.Process(server.pid).children(recursive=True):
        with suppress(psutil.Error):
            if child.name() == "sleep":
                child.kill()
    server.ask("SELECT pg_switch_wal()")


def _archive(lab: Lab, command: str) -> None:
    lab.postgresql.ask(f"ALTER SYSTEM SET archive_command = '{command}'")
    lab.postgresql.ask("SELECT pg_reload_conf()")
    lab.postgresql.ask("SELECT pg_switch_wal()")
