"""A place on this machine for real servers: a temporary directory, reserved ports and a certificate authority.

It runs nothing; `lab.running.server` does.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import trustme

from lab.running.ports import Ports

ROOT = Path(__file__).resolve().parents[2]  # of the project: its packages, its prometheus/ folder
VALIDITY = timedelta(days=90)  # of a certificate, as Let's Encrypt issues them


class LabError(Exception):
    """A server did not start, did not stay up or did not end as it should: one line, then its last log lines."""


class LabFolder:
    """The files, ports and certificates that servers share.

    Attributes:
        directory: a temporary directory, from `open` to `close`; a server's files and log go there.
        ports: the ports that are reserved for this place.
    """

    directory: Path

    def __init__(self) -> None:
        self.ports = Ports()

    def open(self) -> None:
        """Make the directory."""
        self.directory = Path(tempfile.mkdtemp(prefix="commeazy-lab-"))

    def close(self) -> None:
        """Release the ports and remove the directory."""
        self.ports.release()
        shutil.rmtree(self.directory)

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
