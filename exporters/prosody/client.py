"""Speaks Prosody's admin socket (mod_admin_socket with mod_admin_shell): one command, one answer. Knows no Prometheus.

The socket has no password and gives full control of the server, so callers send only the fixed texts of this package.
The protocol is an XML stream: `<repl-input>` asks; any number of `<repl-output>` and one `<repl-result>` answer.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape

from toolkit.scrape import TargetError
from toolkit.xmlstream import split_half_tag

if TYPE_CHECKING:
    from pathlib import Path

STREAM_HEADER = (
    "<stream:stream xmlns='xmpp:prosody.im/admin' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
REASONS = (
    "no_socket",
    "permission_denied",
    "connection_refused",
    "connection_lost",
    "protocol_error",
    "error_answer",
    "timeout",
)
LONGEST_COMMAND = 8_000  # bytes of Lua in one stanza; Prosody 13.0.4 and newer take 10,000 in all
_CHUNK_BYTES = 64 * 1024
# The longest is below the 0.5 s that a scrape with a timeout of 1 s has, which must still learn what is wrong.
_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 0.05, 0.3


class Answer(NamedTuple):
    """What one command brought: the text it printed, and its result, which says itself whether it is an error."""

    is_error: bool
    printed: str
    result: str


class AnswerParser:
    """Puts the answers of the stream together as its bytes arrive.

    Args:
        max_bytes: most bytes that may arrive before an answer is complete; above it `feed` raises TargetError.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._answers: list[Answer] = []
        self._printed: list[str] = []
        self._text: list[str] = []
        self._unanswered_bytes = 0
        self._depth = 0
        self._is_error = False
        self._stream_error = ""
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._half_tag = b""

    def feed(self, data: bytes) -> list[Answer]:
        """Return the answers that these bytes complete, in order.

        Raises TargetError: "protocol_error" for what is not this protocol, "connection_lost" for a stream error.
        """
        self._unanswered_bytes += len(data)
        if self._unanswered_bytes > self._max_bytes:
            message = f"an answer is longer than {self._max_bytes} bytes; which module of Prosody grows without bound?"
            raise TargetError("protocol_error", message)
        whole, self._half_tag = split_half_tag(self._half_tag + data)
        try:
            self._parser.Parse(whole)
        except expat.ExpatError as error:
            message = f"what the admin socket sends is not its protocol ({error}); is another program listening there?"
            raise TargetError("protocol_error", message) from None
        if self._answers:
            self._unanswered_bytes = 0
        answers, self._answers = self._answers, []
        return answers

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        tag = name.rpartition(" ")[2]
        if self._depth == 1 and tag != "stream":
            message = (
                f"the admin socket opens with <{tag[:40]}> instead of <stream>; is another program listening there?"
            )
            raise TargetError("protocol_error", message)
        if self._depth == 2:  # noqa: PLR2004 - the stanzas are the stream's children
            self._is_error = attributes.get("type") == "error"
        if self._depth == 3 and not self._stream_error:  # noqa: PLR2004 - <stream:error> names its condition in a child
            self._stream_error = tag

    def _end(self, name: str) -> None:
        self._depth -= 1
        tag = name.rpartition(" ")[2]
        if self._depth == 1 and tag == "repl-result":
            self._answers.append(Answer(self._is_error, "".join(self._printed), "".join(self._text)))
            self._printed.clear()
            self._text.clear()
        elif self._depth == 1 and tag == "repl-output":
            self._printed += self._text
            self._text.clear()
        elif self._depth == 1 and tag == "error":
            raise TargetError(
                "connection_lost", f"Prosody closed the admin socket ({self._stream_error}); is it stopping?"
            )

    def _characters(self, text: str) -> None:
        if self._depth > 1:  # white space between stanzas only keeps an idle connection alive
            self._text.append(text)

    def _refuse_doctype(self, *_: object) -> None:
        raise TargetError(
            "protocol_error", "the admin socket sends a document type, which XMPP forbids (RFC 6120, 11.1)"
        )


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    parser: AnswerParser

    async def ask(self, text: str) -> Answer:
        self.writer.write(f"<repl-input width='132' repl='0'>{escape(text)}</repl-input>".encode())
        answers: list[Answer] = []
        try:
            await self.writer.drain()
            while not answers:
                data = await self.reader.read(_CHUNK_BYTES)
                if not data:
                    raise TargetError(
                        "connection_lost", "Prosody closed the admin socket before answering; did it stop?"
                    )
                answers = self.parser.feed(data)
        except ConnectionError as error:
            raise TargetError("connection_lost", f"the admin socket broke ({error}); did Prosody stop?") from None
        if len(answers) > 1:  # which of them is the next command's?
            message = "more than one answer to one command of the admin socket; is another program listening there?"
            raise TargetError("protocol_error", message)
        return answers[0]


def commands(source: str) -> list[str]:
    """Return the commands that run a Lua source: itself, or its pieces and one that puts them together and runs them.

    Prosody 13.0.4 and newer close an admin connection whose stanza is longer than 10,000 bytes. The pieces are kept in
    the environment of the connection. If that is a new one meanwhile, the last command is an error and runs nothing.
    """
    if len(escape(source).encode()) <= LONGEST_COMMAND:
        return [f">{source}"]
    pieces, size = [""], 0
    for line in source.splitlines(keepends=True):
        length = len(escape(line).encode())
        if size + length > LONGEST_COMMAND and pieces[-1]:
            pieces.append("")
            size = 0
        pieces[-1] += line
        size += length
    first, *others = (f"[====[\n{piece}]====]" for piece in pieces)
    complete = f"assert(#whole == {len(source.encode())}, 'a piece is missing')"
    return [
        f">pieces = {first} return 'kept'",
        *(f">pieces = (pieces or '') .. {piece} return 'kept'" for piece in others),
        f">local whole = pieces or ''; pieces = nil; {complete}; return assert(load(whole, 'commeazy', 't', _ENV))()",
    ]


class AdminShell:
    """One persistent connection to the admin socket, opened when needed and again when it is lost.

    Args:
        path: the socket, the option `admin_socket` in Prosody's configuration.
        timeout: seconds that one command may take, connecting included; a Lua loop in Prosody knows no limit itself.
        max_answer_bytes: an answer longer than this is refused while it arrives.
    """

    def __init__(self, path: Path, *, timeout: float = 9.0, max_answer_bytes: int = 8 * 1024 * 1024) -> None:
        self.path = path
        self.timeout = timeout
        self.max_answer_bytes = max_answer_bytes
        self._connection: _Connection | None = None
        self._lock = asyncio.Lock()
        self._backoff = 0.0
        self._not_before = 0.0

    @property
    def connected(self) -> bool:
        """Whether the connection of the last command is still open, as far as this side knows."""
        return self._connection is not None

    @property
    def peer_pid(self) -> int | None:
        """Process id of the server at the other end as the kernel knows it; None when not connected or hidden."""
        if self._connection is None:
            return None
        peer = self._connection.writer.get_extra_info("socket")
        try:
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:  # broken since the last answer, and closed by asyncio
            return None
        pid: int = struct.unpack("3i", credentials)[0]
        return pid or None

    async def lua(self, source: str) -> str:
        """Run Lua inside Prosody and return what it printed, followed by the value it returned, as text.

        A long source goes in pieces, see `commands`. Raises TargetError with one of REASONS.
        """
        *pieces, last = commands(source)
        for piece in pieces:
            await self.command(piece)
        answer = await self.command(last)
        return answer.printed + answer.result.removeprefix("Result: ")

    async def command(self, text: str) -> Answer:
        """Give the shell one command and return its answer, which is no error.

        Raises TargetError with one of REASONS.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(self.timeout):
                    answer = await self._ask(text)
            except TimeoutError:
                self._drop()
                message = f"no answer from {self.path} in {self.timeout:g} s: Prosody hangs or is busy; look at its CPU"
                raise TargetError("timeout", message) from None
            except BaseException:
                self._drop()  # a late answer must never be taken for the next command's
                raise
        self._backoff = self._not_before = 0.0
        if answer.is_error:
            said = answer.result[:200]
            remedy = (
                "enable mod_admin_shell in modules_enabled" if "mod_admin_shell" in said else "look at Prosody's log"
            )
            raise TargetError("error_answer", f"Prosody answers with an error ({said!r}); {remedy}")
        return answer

    async def close(self) -> None:
        """Close the connection; a later command opens a new one."""
        async with self._lock:
            self._drop()

    async def _ask(self, text: str) -> Answer:
        if self._connection is not None:
            connection = self._connection
            try:
                return await connection.ask(text)
            except TargetError as error:
                if error.reason != "connection_lost":
                    raise
                self._drop()  # restarted between two scrapes: the new server answers in this one
        self._connection = await self._connect()
        return await self._connection.ask(text)

    async def _connect(self) -> _Connection:
        await asyncio.sleep(self._not_before - time.monotonic())
        self._backoff = min(max(2 * self._backoff, _FIRST_BACKOFF_SECONDS), _LONGEST_BACKOFF_SECONDS)
        self._not_before = time.monotonic() + self._backoff
        try:
            reader, writer = await asyncio.open_unix_connection(self.path)
        except OSError as error:
            raise _connect_error(self.path, error) from None
        writer.write(STREAM_HEADER.encode())
        return _Connection(reader, writer, AnswerParser(self.max_answer_bytes))

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.writer.transport.abort()
            self._connection = None


def _connect_error(path: Path, error: OSError) -> TargetError:
    match error.errno:
        case errno.ENOENT:
            return TargetError(
                "no_socket", f"no socket {path}: start Prosody, enable mod_admin_shell, or correct --prosody.socket"
            )
        case errno.EACCES | errno.EPERM:
            return TargetError("permission_denied", f"no permission for {path}: run the exporter as the user prosody")
        case errno.ECONNREFUSED | errno.ENOTSOCK:
            return TargetError(
                "connection_refused", f"nothing listens on {path}: start Prosody, or correct --prosody.socket"
            )
        case _:
            cause = error.strerror or error  # a path too long for a socket has no errno
            return TargetError("connection_lost", f"cannot connect to {path}: {cause}; correct --prosody.socket")
