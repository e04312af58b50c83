"""PostgreSQL in the lab: a primary, a replica that streams from it by a slot, their exporters, and work for them."""

from __future__ import annotations

import shutil
from http import HTTPStatus
from typing import TYPE_CHECKING

from lab.running.server import Server, Target, http_answers, tcp_accepts
from lab.running.workspace import LabError
from lab.servers.certified import CertifiedPostgresql

if TYPE_CHECKING:
    from pathlib import Path

    from lab.running.workspace import Workspace

SLOT = "replica"


class Postgresql(CertifiedPostgresql):
    """A primary with a replication slot, or a replica of another server; its database is `postgres`.

    Args:
        lab: where it runs.
        name: unique in the lab; the node's name too.
        primary: the server to stream from, started before; None for a primary.
    """

    def __init__(self, lab: Workspace, name: str, primary: Postgresql | None = None) -> None:
        super().__init__(lab, name)
        self.port = self.tls_port
        self._primary = primary

    @property
    def address(self) -> str:
        """Its port, and what it is."""
        role = f"replica of {self._primary.name}" if self._primary else "primary"
        return f"postgresql://127.0.0.1:{self.port}, {role}"

    def prepare(self) -> None:
        """Make the data directory: a new one, or a copy of the primary's."""
        if self._primary is None:
            super().prepare()
        elif not (data := self.directory / "data").exists():
            self.hand_over(self.directory)
            primary = f"host=127.0.0.1 port={self._primary.port} user=postgres application_name={self.name}"
            options = ["-D", str(data), "-R", "-c", "fast", "-X", "stream", "--no-sync", "-C", "-S", SLOT]
            self.run("pg_basebackup", "-d", primary, *options)

    def settings(self) -> dict[str, str | Path]:
        """Return what its postgresql.conf would say."""
        tls = ("ssl", "ssl_cert_file", "ssl_key_file")
        return {name: value for name, value in super().settings().items() if name not in tls}

    def is_ready(self) -> bool:
        """It answers a query; a replica streams, too."""
        if not tcp_accepts(self.port):
            return False
        question = (
            "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'" if self._primary else "SELECT 1"
        )
        try:
            return self.ask(question) == "1"
        except LabError:
            return False

    def make_database(self, name: str) -> None:
        """Make a database and the user of the same name who owns it, unless they are there.

        Section 6 grants that user all privileges on a database of somebody else's; since PostgreSQL 15 that lets nobody
        make a table in it.
        """
        if name not in self.ask("SELECT datname FROM pg_database").split():
            self.ask(f"CREATE USER {name}")
            self.ask(f"CREATE DATABASE {name} OWNER {name} ENCODING 'UTF8' TEMPLATE template0")

    def ask(self, statement: str, database: str = "postgres") -> str:
        """Let it do one SQL statement; return what psql prints. Raises LabError if it refuses."""
        psql = ["psql", *self.connection, "-d", database, "-v", "ON_ERROR_STOP=1", "-Atc"]
        return self.run(*psql, statement).strip()

    @property
    def connection(self) -> list[str]:
        """The options with which PostgreSQL's programs find it."""
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]


class Queries(Server):
    """pgbench's transactions on a primary, a few a second, until it is stopped; it reads and writes.

    Args:
        primary: the server; started before.
    """

    def __init__(self, primary: Postgresql) -> None:
        super().__init__(primary.lab, "queries")
        self._primary = primary

    @property
    def address(self) -> str:
        """What it does, for want of a port."""
        return f"10 transactions a second on {self._primary.name}"

    def prepare(self) -> None:
        """Make pgbench's tables."""
        self._primary.run("pgbench", "-i", "-q", *self._primary.connection, "postgres")

    def command(self) -> list[str]:
        """Run pgbench at a pace for longer than anybody looks on."""
        pgbench = self._primary.program("pgbench")
        return [pgbench, *self._primary.connection, "-n", "-c", "2", "-R", "10", "-T", "864000", "postgres"]

    def is_ready(self) -> bool:
        """It serves nobody, so running is all there is to wait for."""
        return self.running


class PostgresExporter(Server):
    """Debian's exporter for one PostgreSQL.

    Args:
        server: whom it asks.
    """

    def __init__(self, server: Postgresql) -> None:
        super().__init__(server.lab, f"{server.name}-exporter")
        self._server = server
        self.port = self.lab.ports.reserve()
        self.target = Target("postgresql", server.name, self.port)

    @property
    def address(self) -> str:
        """Its page."""
        return f"http://127.0.0.1:{self.port}/metrics"

    def command(self) -> list[str]:
        """Run it on loopback."""
        program = shutil.which("postgres_exporter") or "prometheus-postgres-exporter"
        return [program, f"--web.listen-address=127.0.0.1:{self.port}"]

    def environment(self) -> dict[str, str]:
        """Name the server."""
        return {"DATA_SOURCE_NAME": f"postgresql://postgres@127.0.0.1:{self._server.port}/postgres?sslmode=disable"}

    def is_ready(self) -> bool:
        """Its page answers."""
        return http_answers(self.address, HTTPStatus.OK)
