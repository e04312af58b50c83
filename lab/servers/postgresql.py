"""PostgreSQL in the lab: a primary, a replica that streams from it by a slot, their exporters, and work for them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from lab.running.interrupts import INTERRUPTS
from lab.running.programs import program
from lab.running.server import ScrapeTarget, Server, http_answers, tcp_accepts
from lab.running.workspace import LabError

if TYPE_CHECKING:
    from lab.running.server import Workspace

SLOT = "replica"


class Postgresql(Server):
    """A primary with a replication slot, or a replica of another server; its database is `postgres`.

    It runs as user postgres if we are root: PostgreSQL refuses to run as root.

    Args:
        lab: where it runs.
        name: unique in the lab; the node's name too.
        primary: the server to stream from, started before; None for a primary.
    """

    stop_signal = signal.SIGINT  # fast: SIGTERM waits for the clients to leave

    def __init__(self, lab: Workspace, name: str, primary: Postgresql | None = None) -> None:
        super().__init__(lab, name)
        self.port = lab.ports.reserve()
        self._primary = primary

    @property
    def address(self) -> str:
        """Its port, and what it is."""
        role = f"replica of {self._primary.name}" if self._primary else "primary"
        return f"postgresql://127.0.0.1:{self.port}, {role}"

    def prepare(self) -> None:
        """Make the data directory: a new one, or a copy of the primary's."""
        data = self.directory / "data"
        if data.exists():
            return
        self.hand_over(self.directory)
        if self._primary is None:
            with INTERRUPTS.held():  # its own child writes on when it is killed
                self.run("initdb", "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync")
            with (data / "postgresql.conf").open("a", encoding="utf-8") as file:  # there, so that a test can change it
                file.write("archive_mode = on\narchive_command = 'true'\narchive_timeout = 30\n")
        else:
            primary = f"host=127.0.0.1 port={self._primary.port} user=postgres application_name={self.name}"
            options = ["-D", str(data), "-R", "-c", "fast", "-X", "stream", "--no-sync", "-C", "-S", SLOT]
            with INTERRUPTS.held():
                self.run("pg_basebackup", "-d", primary, *options)

    def settings(self) -> dict[str, str | Path]:
        """Return what its postgresql.conf would say: no Unix socket, and a port on loopback."""
        return {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
        }

    def command(self) -> list[str]:
        """Run with these settings."""
        options = [option for name, value in self.settings().items() for option in ("-c", f"{name}={value}")]
        data = str(self.directory / "data")
        return [*self._as_user(), self.program("postgres"), "-D", data, "-p", str(self.port), *options]

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

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the server's user; return what it prints. Raises LabError if it fails."""
        command = [*self._as_user(), self.program(program), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self.directory)
        if done.returncode:
            raise LabError(f"{self.name}: {program} failed: {done.stderr.strip()}")
        return done.stdout

    @staticmethod
    def program(name: str) -> str:
        """Find one of PostgreSQL's programs, which Debian keeps out of PATH."""
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        return str(found[-1]) if found else name

    def hand_over(self, *paths: Path) -> None:
        """Give files to the user that PostgreSQL runs as."""
        if os.geteuid() == 0:
            for path in paths:
                shutil.chown(path, "postgres", "postgres")

    def _as_user(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        # The lab's directory and those above it are closed to other users; this capability leads through them.
        reach = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        # The parent-death signal is set again: the kernel forgets it when the user changes.
        return [*user, *reach, "--pdeathsig", "KILL", "--"]


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
        """What it does: it has no port."""
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
        server: what it reads.
    """

    def __init__(self, server: Postgresql) -> None:
        super().__init__(server.lab, f"{server.name}-exporter")
        self._server = server
        self.port = self.lab.ports.reserve()
        self.target = ScrapeTarget("postgresql", server.name, self.port)

    @property
    def address(self) -> str:
        """Its page."""
        return f"http://127.0.0.1:{self.port}/metrics"

    def command(self) -> list[str]:
        """Run it on loopback."""
        exporter = program("postgres_exporter", "prometheus-postgres-exporter")
        return [exporter, f"--web.listen-address=127.0.0.1:{self.port}"]

    def environment(self) -> dict[str, str]:
        """Name the server."""
        return {"DATA_SOURCE_NAME": f"postgresql://postgres@127.0.0.1:{self._server.port}/postgres?sslmode=disable"}

    def is_ready(self) -> bool:
        """Its page answers."""
        return http_answers(self.address, HTTPStatus.OK)
