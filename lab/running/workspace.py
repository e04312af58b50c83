"""The place real servers run in: a temporary directory, reserved ports, a certificate authority, and an orderly end.

It knows no server in particular; `lab.stack` names those.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trustme

from lab.running.interrupts import INTERRUPTS
from lab.running.ports import Ports

if TYPE_CHECKING:
    from lab.running.server import Server

ROOT = Path(__file__).resolve().parents[2]  # of the project: its packages, its prometheus/ folder


VALIDITY = timedelta(days=90)  # of a certificate, as Let's Encrypt issues them


class LabError(Exception):
    """A server did not start, did not stay or did not end as it should: one line, then its last log lines."""


class Workspace:
    """Owns everything its servers leave on the machine, and takes it away again.

    Enter it before a server starts. When it is left (an error, Ctrl-C and SIGTERM included) every server is stopped,
    last started first, and the directory is removed. Should this very process be killed, the kernel kills the servers.

    Attributes:
        directory: the temporary directory; a server's files and log go there.
        servers: every server that was started, in that order, whether or not it still runs.
    """

    directory: Path

    def __init__(self) -> None:
        self.servers: list[Server] = []
        self.ports = Ports()

    def __enter__(self) -> Self:
        INTERRUPTS.__enter__()
        with INTERRUPTS.held():
            self.directory = Path(tempfile.mkdtemp(prefix="commeazy-lab-"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        failures = []
        try:
            with INTERRUPTS.held():
                if isinstance(error, Exception) and not isinstance(error, LabError):
                    for server in self.servers:  # the logs go with the directory
                        error.add_note(f"{server.name}{server.last_words()}")
                for server in reversed(self.servers):
                    try:
                        server.stop()
                    except LabError as failure:
                        failures.append(str(failure))
                self.ports.release()
                shutil.rmtree(self.directory)
        finally:
            INTERRUPTS.__exit__()
        if failures and error is None:
            raise LabError("\n".join(failures))

    @cached_property
    def authority(self) -> trustme.CA:
        """The lab's own certificate authority; its certificate is in the file `ca.pem`."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.directory / "ca.pem"))
        return authority

    def certificate(self, host: str) -> tuple[Path, Path]:
        """Issue a certificate for a host name, once; return the files of its chain and of its key."""
        folder = self.directory / "certificates"
        folder.mkdir(exist_ok=True)
        chain, key = folder / f"{host}.crt", folder / f"{host}.key"
        if not key.exists():
            issued = self.authority.issue_cert(host, not_after=datetime.now(UTC) + VALIDITY)
            chain.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
            issued.private_key_pem.write_to_path(str(key))
        return chain, key

    def crashed(self) -> list[str]:
        """Say in one line each which servers ended by themselves."""
        return [server.obituary() for server in self.servers if server.crashed]
