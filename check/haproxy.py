"""Tells an HAProxy over its admin socket to drain a server or to use it again; decides nothing."""

from __future__ import annotations

import argparse
import csv
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from check.client import one_line

SOCKET = "/run/haproxy/admin.sock"
BACKEND = "prosody_ws"
_HOST = re.compile(r"[\w.-]+(?:@[\w.-]+)?", re.ASCII)
_MOST_BYTES = 2**22


class HaproxyError(Exception):
    """One line: which HAProxy, and why the command failed."""


@dataclass(frozen=True)
class BackendServer:
    """A server of the backend: its state as `show stat` has it, and the connections it has now."""

    status: str
    connections: int


@dataclass(frozen=True)
class HaproxySocket:
    """One HAProxy.

    Args:
        place: `ssh:HOST`, whose admin socket is at its usual path, or the path of a socket on this host.
        timeout: seconds for one command.
    """

    place: str
    timeout: float = 10.0

    @classmethod
    def parse(cls, text: str) -> HaproxySocket:
        """Read `ssh:HOST` or a path; raises argparse.ArgumentTypeError."""
        if text.startswith("/"):
            return cls(text)
        scheme, _, host = text.partition(":")
        if scheme != "ssh" or not _HOST.fullmatch(host) or host.startswith("-"):
            raise argparse.ArgumentTypeError(f"{text!r} is no HAProxy; write ssh:haproxy1 or {SOCKET}")
        return cls(text)

    def servers(self) -> dict[str, BackendServer]:
        """Return the servers of the backend by name.

        Raises:
            HaproxyError: it does not answer, or has no such backend.
        """
        lines = self._tell("show stat").lstrip("# ").splitlines()
        rows = [row for row in csv.DictReader(lines) if row.get("pxname") == BACKEND]
        found = {
            row["svname"]: BackendServer(row["status"], int(row["scur"] or 0))
            for row in rows
            if row["svname"] not in ("BACKEND", "FRONTEND")
        }
        if not found:
            raise HaproxyError(f"{self.place}: has no backend {BACKEND}")
        return found

    def set_state(self, server: str, state: str) -> None:
        """Put a server into the state drain or ready.

        Raises:
            HaproxyError: it does not answer, or refuses.
        """
        if said := self._tell(f"set server {BACKEND}/{server} state {state}").strip():
            raise HaproxyError(f"{self.place}: {one_line(said)}")

    def _tell(self, command: str) -> str:
        try:
            return self._over_ssh(command) if self.place.startswith("ssh:") else self._over_socket(command)
        except (OSError, subprocess.SubprocessError) as error:
            why = "timed out" if isinstance(error, TimeoutError | subprocess.TimeoutExpired) else str(error)
            raise HaproxyError(f"{self.place}: {one_line(why)}; see whether its admin socket may be used") from None

    def _over_socket(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self.timeout)
            connection.connect(str(Path(self.place)))
            connection.sendall(command.encode() + b"\n")
            said = b""
            while part := connection.recv(2**16):
                said += part
                if len(said) > _MOST_BYTES:
                    raise OSError("its answer is too long")
        return said.decode(errors="replace")

    def _over_ssh(self, command: str) -> str:
        host = self.place.removeprefix("ssh:")
        done = subprocess.run(  # noqa: S603 - the host is checked, and the command is ours
            ["ssh", "-o", "BatchMode=yes", host, f"socat - UNIX-CONNECT:{SOCKET}"],  # noqa: S607 - the operator's ssh
            input=command + "\n",
            capture_output=True,
            text=True,
            timeout=self.timeout,
            check=False,
        )
        if done.returncode:
            raise OSError(done.stderr.strip() or f"ssh ended with {done.returncode}")
        return done.stdout
