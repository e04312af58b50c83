"""TURN traffic: clients that hold allocations for as long as asked, and coturn's own load tools. No server."""

from __future__ import annotations

import base64
import hmac
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, Self

from lab.running.server import ending_with_us
from lab.servers.coturn import SECRET, Coturn
from toolkit import stun
from toolkit.stun import Attribute, Credentials, Method, StunResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

_ALLOCATE = [(Attribute.REQUESTED_TRANSPORT, stun.UDP_RELAY)]
_PATIENCE = 5.0  # seconds for one answer
_MISMATCH = 437  # coturn still has an allocation of the one who had our port a second ago


class TurnClient:
    """One client of a coturn, over "udp", "tcp" or "tls"; blocking. Its allocation ends with `release`, or by itself.

    Args:
        coturn: the server.
        transport: how to reach it.
        user: the part of its user name after the time of expiry.
        secret: the shared secret it believes in.
    """

    def __init__(self, coturn: Coturn, transport: str = "udp", user: str = "alice", secret: str = SECRET) -> None:
        self._coturn = coturn
        self._transport = transport
        self._user = user
        self._secret = secret
        self._credentials: Credentials | None = None
        self._stream = transport != "udp"
        self._socket = self._connected()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def bind(self) -> StunResponse:
        """Ask for our own address (STUN Binding)."""
        return self._ask(Method.BINDING, [])

    def allocate(self, wanted: Sequence[tuple[Attribute, bytes]] = _ALLOCATE) -> StunResponse:
        """Request a relay: first without credentials, as the protocol wants it, then with them."""
        challenge = self._ask(Method.ALLOCATE, wanted)
        while challenge.error == _MISMATCH:
            self._socket.close()
            self._socket = self._connected()
            challenge = self._ask(Method.ALLOCATE, wanted)
        username = f"{int(time.time()) + 3600}:{self._user}"
        password = base64.b64encode(hmac.digest(self._secret.encode(), username.encode(), "sha1")).decode()
        realm, nonce = (challenge.attributes[kind] for kind in (Attribute.REALM, Attribute.NONCE))
        self._credentials = Credentials(username, password, realm, nonce)
        return self._ask(Method.ALLOCATE, wanted, self._credentials)

    def release(self) -> StunResponse:
        """Give the relay back."""
        return self._ask(Method.REFRESH, [(Attribute.LIFETIME, bytes(4))], self._credentials)

    def _connected(self) -> socket.socket:
        kind = socket.SOCK_STREAM if self._stream else socket.SOCK_DGRAM
        connection = socket.socket(socket.AF_INET, kind)
        connection.settimeout(_PATIENCE)
        connection.connect(("127.0.0.1", self._coturn.tls_port if self._transport == "tls" else self._coturn.port))
        if self._transport == "tls":
            context = ssl.create_default_context(cafile=str(self._coturn.lab.directory / "ca.pem"))
            connection = context.wrap_socket(connection, server_hostname="turn.commeazy.com")
        return connection

    def _ask(
        self, method: Method, attributes: Sequence[tuple[Attribute, bytes]], credentials: Credentials | None = None
    ) -> StunResponse:
        _, message = stun.encode(method, attributes, credentials)
        self._socket.sendall(message)
        if not self._stream:
            return stun.decode(self._socket.recv(1500))
        header = self._exactly(stun.HEADER.size)
        return stun.decode(header + self._exactly(stun.length(header)))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionError("coturn closed the connection")
            data += more
        return data


class Allocations(ExitStack):
    """Any number of clients with one allocation each; those still held are released at the end.

    Args:
        coturn: the server; its total-quota must allow as many.
    """

    def __init__(self, coturn: Coturn) -> None:
        super().__init__()
        self._coturn = coturn
        self.clients: list[TurnClient] = []

    def hold(self, count: int) -> None:
        """Have this many; raises AssertionError if coturn refuses one."""
        while len(self.clients) < count:
            client = self.enter_context(TurnClient(self._coturn))
            answer = client.allocate()
            assert answer.success, f"coturn refuses an allocation with error {answer.error}"
            self.clients.append(client)
        while len(self.clients) > count:
            self.clients.pop().release()

    def __exit__(self, *details: object) -> None:
        """Release all that coturn still answers for."""
        try:
            if self._coturn.running:
                self.hold(0)
        finally:
            super().__exit__(None, None, None)


class RelayPorts(Protocol):
    """Where a coturn listens on 127.0.0.1."""

    @property
    def port(self) -> int:
        """The one without TLS."""

    @property
    def tls_port(self) -> int:
        """The one with TLS."""


class LoadTools:
    """coturn's own turnutils_uclient and turnutils_peer: clients that relay messages to a peer, which sends them back.

    Args:
        coturn: the server.
    """

    def __init__(self, coturn: RelayPorts) -> None:
        self._coturn = coturn
        self._stack = ExitStack()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self._peer_port = free.getsockname()[1]

    def __enter__(self) -> Self:
        peer = self._start("turnutils_peer", "-L", "127.0.0.1", "-p", str(self._peer_port))
        # uclient sends to this port and to the next; what comes before the peer listens on both is lost.
        while _is_free(self._peer_port) or _is_free(self._peer_port + 1):
            assert peer.poll() is None, "turnutils_peer ended by itself"
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, transport: str, clients: int, messages: int, size: int = 100) -> subprocess.Popen[str]:
        """Start clients that each relay this many messages of `size` bytes to the peer, over udp, tcp or tls."""
        flags = {"udp": [], "tcp": ["-t"], "tls": ["-t", "-S"]}[transport]
        port = self._coturn.tls_port if transport == "tls" else self._coturn.port
        return self._start(
            *("turnutils_uclient", *flags, "-c"),
            *("-W", SECRET, "-u", "bob", "-m", str(clients), "-n", str(messages), "-l", str(size)),
            *("-e", "127.0.0.1", "-r", str(self._peer_port), "-p", str(port), "127.0.0.1"),
        )

    def _start(self, *command: str) -> subprocess.Popen[str]:
        process = self._stack.enter_context(
            subprocess.Popen(
                [*ending_with_us(), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        self._stack.callback(process.kill)
        return process


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
