"""One cheap user: an XMPP session over WebSocket in a few kilobytes, for a program that holds thousands of them.

It is no client library. It does what `lab.scale.crowd` asks of it, parses no XML, and only knows Prosody's answers.
`xmpp` is the client with all checks; it takes many times the memory.
"""

from __future__ import annotations

import base64
import errno
import re
import secrets
import socket
import ssl
import time
from typing import TYPE_CHECKING, Protocol

from xmpp.scram import ScramClient

if TYPE_CHECKING:
    from collections.abc import Generator

SM = "urn:xmpp:sm:3"
_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
_COUNTED = (b"<message", b"<presence", b"<iq")  # what stream management counts
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_MEDIUM, _LONG = 126, 127  # of a frame's length (RFC 6455 section 5.2)
_ID = re.compile(rb"<enabled[^>]* id='([^']+)'")
_SENT_AT = re.compile(rb"<body>at ([0-9.]+)</body>")
_ERROR = re.compile(rb"^<message[^>]* type='error'")
_BLOCKING = (errno.EINPROGRESS, errno.EAGAIN)
_CHUNK = bytearray(65536)  # what every session reads into


class Host(Protocol):
    """Who holds the sessions, and what sessions tell it."""

    domain: str
    path: str
    tls: ssl.SSLContext | None
    server_name: str

    def interested(self, session: Session, *, writing: bool) -> None:
        """Look out for what the session waits for."""

    def opened(self, session: Session, *, resumed: bool) -> None:
        """The session is there."""

    def closing(self, session: Session) -> None:
        """The session's socket is about to be closed."""

    def lost(self, session: Session, why: str) -> None:
        """The connection is gone; why, in one or two words."""

    def delivered(self, seconds: float, *, kept: bool) -> None:
        """A message has arrived; so long it took, and whether the server had to keep it for a resumption."""

    def bounced(self) -> None:
        """A message has come back as an error."""


class SessionError(Exception):
    """The server said no, or nothing that can be understood."""


class Session:
    """One user with one connection at a time.

    Args:
        host: who holds it.
        user: its account.
        password: of the account.
        source: the address of this machine that it comes from.
        door: where it connects.

    Attributes:
        phase: "out", "connecting", "login", "open" or "asleep" (its connection is broken, the server keeps it).
        ticket: with which the session can be resumed; b"" if it cannot.
        began: when it began to connect; once it is open, since when it is. Monotonic seconds.
        token: of its push registration; "" if it has none.
        mask: what the host looks out for; the host's own note.
    """

    __slots__ = (
        *("began", "door", "handled", "host", "mask", "password", "phase", "sock", "source", "ticket", "token", "user"),
        *("_buffer", "_resuming", "_talk", "_unsent", "_upgraded"),
    )

    def __init__(self, host: Host, user: str, password: str, source: str, door: tuple[str, int]) -> None:
        self.host, self.user, self.password, self.source, self.door = host, user, password, source, door
        self.phase = "out"
        self.ticket, self.token, self.handled, self.mask, self.began = b"", "", 0, 0, 0.0
        self.sock: socket.socket | None = None
        self._buffer, self._unsent = b"", b""
        self._upgraded = self._resuming = False
        self._talk: Generator[None, bytes, None] | None = None

    # A connection begins and ends ------------------------------------------------------------------------------

    def connect(self) -> None:
        """Begin to log in; to resume the session, if it broke and there is a ticket."""
        self._resuming = bool(self.ticket)
        self.phase, self.began = "connecting", time.monotonic()
        self._buffer, self._unsent, self._upgraded = b"", b"", False
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
        # The port is chosen when it connects, so that each address has a full range of them for each door.
        sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        self.sock = sock
        try:
            if self.source:
                sock.bind((self.source, 0))
            failure = sock.connect_ex(self.door)
        except OSError as error:
            failure = error.errno or errno.EIO
        if failure and failure not in _BLOCKING:
            self._end("refused")
            return
        self.host.interested(self, writing=True)

    def drop(self) -> None:
        """Break the connection with a reset, as a phone in a tunnel does; the session may be resumed."""
        if self.sock is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._forget()

    def _forget(self) -> None:
        if self.sock is not None:
            self.host.closing(self)
            self.sock.close()
            self.sock = None
        self._talk, self._buffer, self._unsent = None, b"", b""

    def _end(self, why: str) -> None:
        self._forget()
        self.phase = "out"
        self.host.lost(self, why)

    # What the loop calls ---------------------------------------------------------------------------------------

    def ready(self) -> None:
        """Go on: something has come, or something can be sent."""
        try:
            if self.phase == "connecting" and not self._connected():
                return
            self._flush()
            self._read()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError) as error:
            self.host.interested(self, writing=isinstance(error, ssl.SSLWantWriteError) or bool(self._unsent))
        except ssl.SSLError:
            self._end("tls")
        except OSError:
            self._end("broken")
        except SessionError as error:
            self._end(str(error))
        except ValueError:  # what SCRAM raises
            self._end("refused scram")

    def _moment(self) -> str:
        """Say what the session was doing, for the report's list of what clients met."""
        if self._talk is not None:
            return "at a resumption" if self._resuming else "at a login"
        return "after a resumption" if self._resuming else "after a login"

    def _connected(self) -> bool:
        assert self.sock is not None
        if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._end("refused")
            return False
        if self.host.tls is not None:
            if not isinstance(self.sock, ssl.SSLSocket):
                self.sock = self.host.tls.wrap_socket(
                    self.sock, server_hostname=self.host.server_name, do_handshake_on_connect=False
                )
            self.sock.do_handshake()
        self.phase = "login"
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self._unsent = (
            f"GET {self.host.path} HTTP/1.1\r\nHost: {self.host.server_name}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: xmpp\r\n\r\n"
        ).encode()
        self._talk = self._log_in()
        next(self._talk)
        return True

    def _flush(self) -> None:
        while self._unsent:
            assert self.sock is not None
            self._unsent = self._unsent[self.sock.send(self._unsent) :]

    def _read(self) -> None:
        while self.sock is not None:
            size = self.sock.recv_into(_CHUNK)
            if not size:
                raise SessionError(f"closed {self._moment()}")
            self._buffer += _CHUNK[:size]
            if not self._upgraded:
                head, end, rest = self._buffer.partition(b"\r\n\r\n")
                if not end:
                    continue
                if b" 101 " not in head.partition(b"\r\n")[0]:
                    raise SessionError("status " + head[9:12].decode("ascii", "replace"))
                self._upgraded, self._buffer = True, rest
                self.send(f"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{self.host.domain}' version='1.0'/>")
            while (frame := self._frame()) is not None:
                self._arrived(*frame)

    def _frame(self) -> tuple[int, bytes] | None:
        data = self._buffer
        if len(data) < 2:  # noqa: PLR2004 - a header
            return None
        size, at = data[1] & 0x7F, 2
        if size >= _MEDIUM:
            at = 4 if size == _MEDIUM else 10
            size = int.from_bytes(data[2:at])
        if len(data) < at + size:
            return None
        self._buffer = data[at + size :]
        return data[0] & 0x0F, data[at : at + size]

    # XMPP ------------------------------------------------------------------------------------------------------

    def send(self, text: str | bytes, opcode: int = _TEXT) -> None:
        """Send one element in one frame."""
        data = text.encode() if isinstance(text, str) else text
        size = len(data)
        head = (
            bytes((0x80 | opcode, 0x80 | size)) if size < _MEDIUM else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2)
        )
        self._unsent += head + bytes(4) + data  # a mask of zeros changes nothing, which is what a cheap client wants
        if self.phase != "connecting":
            try:
                self._flush()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                self.host.interested(self, writing=True)

    def _arrived(self, opcode: int, data: bytes) -> None:
        if opcode == _PING:
            self.send(data, _PONG)
            return
        if opcode == _CLOSE:
            code = int.from_bytes(data[:2])
            raise SessionError(f"closed with {code} {self._moment()}")
        if data.startswith(_COUNTED):
            self.handled += 1
        elif data.startswith(b"<r "):
            self.send(f"<a xmlns='{SM}' h='{self.handled}'/>")
            return
        elif data.startswith((b"<close", b"<stream:error")):
            raise SessionError("stream closed")
        if self._talk is not None and data.strip():
            try:
                self._talk.send(data)
            except StopIteration:
                self._talk = None
                self.phase = "open"
                self.host.opened(self, resumed=self._resuming)
                self.began = time.monotonic()
        elif data.startswith(b"<message") and _ERROR.search(data):
            self.host.bounced()
        elif (sent := _SENT_AT.search(data)) is not None:
            at = float(sent[1])
            self.host.delivered(time.monotonic() - at, kept=at < self.began)

    def _log_in(self) -> Generator[None, bytes, None]:
        """Send what a login sends, one element after the other; each `yield` waits for the next answer."""

        def wanted(answer: bytes, *beginnings: bytes) -> bytes:
            if not answer.startswith(beginnings):
                raise SessionError("refused " + answer[1:16].decode("ascii", "replace").split(" ")[0])
            return answer

        opening = f"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{self.host.domain}' version='1.0'/>"
        wanted((yield), b"<open")
        features = wanted((yield), b"<stream:features")
        mechanism = "SCRAM-SHA-256" if b"SCRAM-SHA-256<" in features else "SCRAM-SHA-1"
        scram = ScramClient(mechanism, self.user, self.password)
        first = base64.b64encode(scram.first().encode()).decode()
        self.send(f"<auth xmlns='{_SASL}' mechanism='{mechanism}'>{first}</auth>")
        proof = scram.final(_decoded(wanted((yield), b"<challenge")))
        self.send(f"<response xmlns='{_SASL}'>{base64.b64encode(proof.encode()).decode()}</response>")
        scram.verify(_decoded(wanted((yield), b"<success")))
        self.send(opening)
        wanted((yield), b"<open")
        wanted((yield), b"<stream:features")
        if self.ticket:
            self.send(f"<resume xmlns='{SM}' previd='{self.ticket.decode()}' h='{self.handled}'/>")
            if wanted((yield), b"<resumed", b"<failed").startswith(b"<resumed"):
                return
            self.ticket, self._resuming = b"", False  # the server has forgotten it, or it is another one
        self.send(f"<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='{_BIND}'/></iq>")
        wanted((yield), b"<iq")
        self.send(f"<enable xmlns='{SM}' resume='true'/>")
        enabled = wanted((yield), b"<enabled")
        self.handled = 0
        self.ticket = found[1] if (found := _ID.search(enabled)) else b""
        if self.token:
            self.send(
                "<iq xmlns='jabber:client' type='set' id='push'>"
                f"<enable xmlns='urn:xmpp:push:0' jid='push.{self.host.domain}' node='{self.token}'>"
                "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
                "<value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
                "<field var='type'><value>voip</value></field></x></enable></iq>"
            )
            wanted((yield), b"<iq")
        self.send("<presence xmlns='jabber:client'/>")
        wanted((yield), b"<presence")


def _decoded(element: bytes) -> str:
    return base64.b64decode(element.partition(b">")[2].partition(b"<")[0]).decode()
