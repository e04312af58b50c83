"""A hand-written mod_admin_socket whose every word a test decides, and what the tests record. It runs no Lua."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from types import TracebackType

RECORDED = Path(__file__).parents[2] / "recorded"
SERVER_HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' "
    "version='1.0' from='localhost' xmlns='xmpp:prosody.im/admin'>"
)
SHUTDOWN = "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"


_PIECE = re.compile(
    r">pieces = (?:(?P<first>)|\(pieces or ''\) \.\. )\[====\[\n(?P<text>.*)\]====\] return 'kept'", re.DOTALL
)


class Talk:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[str]) -> None:
        self.sent = 0  # bytes that the client's side has taken
        self._reader = reader
        self._writer = writer
        self._asked = asked
        self._parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("start", "end"))

    async def next_element(self, event: str, tag: str) -> ET.Element:
        """Read until the client has sent this. Raises EOFError when it closes instead."""
        while True:
            for seen, element in self._parser.read_events():  # type: ignore[misc] # typeshed has no shape for these
                if seen == event and isinstance(element, ET.Element) and element.tag == tag:
                    return element
            data = await self._reader.read(65536)
            if not data:
                raise EOFError
            self._parser.feed(data)

    async def open(self) -> None:
        """Wait for the client's stream header, and answer with the server's."""
        await self.next_element("start", "{http://etherx.jabber.org/streams}stream")
        await self.send(SERVER_HEADER)

    async def asked(self) -> str:
        """Wait for the next command; one that comes in pieces is put together, as Prosody's shell does it."""
        pieces = ""
        while True:
            command = (await self.next_element("end", "{xmpp:prosody.im/admin}repl-input")).text or ""
            if piece := _PIECE.fullmatch(command):
                pieces = piece["text"] if piece["first"] is not None else pieces + piece["text"]
                await self.send(result("kept"))
                continue
            if command.startswith(">local whole = pieces"):
                command = f">{pieces}"
            self._asked.append(command)
            return command

    async def send(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        self._writer.write(data)
        await self._writer.drain()
        self.sent += len(data)

    async def echo(self) -> None:
        """Answer a command with itself, less the mark of raw Lua."""
        await self.send(result((await self.asked()).removeprefix(">")))

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has hung up."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65536):
                pass


Behaviour = Callable[[Talk], Awaitable[None]]


def result(text: str) -> str:
    """One answer of the server that ran a command which returned this text."""
    return f"<repl-result>Result: {escape(text)}</repl-result>"


async def echoing(talk: Talk) -> None:
    """Behave: every command is answered with itself."""
    await talk.open()
    while True:
        await talk.echo()


class AdminSocket:
    """Listens on `path`; the connections behave as given, one after the other; all later ones like the last.

    Attributes:
        connections: how many there were.
        asked: the commands, of all connections.
    """

    def __init__(self, path: Path, *behaviours: Behaviour) -> None:
        self.path = path
        self.connections = 0
        self.asked: list[str] = []
        self._behaviours = behaviours or (echoing,)
        self._talks: dict[asyncio.Task[None], Talk] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End every connection and take the socket away, as a server that stops does."""
        assert self._server
        self._server.close()
        self.path.unlink(missing_ok=True)
        for task, talk in self._talks.items():
            talk.abort()
            task.cancel()
        for outcome in await asyncio.gather(*self._talks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        self._talks.clear()

    async def restart(self) -> None:
        """Stop, and listen at the same path again."""
        await self.stop()
        await self.__aenter__()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self._behaviours[min(self.connections, len(self._behaviours) - 1)]
        self.connections += 1
        talk = Talk(reader, writer, self.asked)
        task = asyncio.current_task()
        assert task
        self._talks[task] = talk
        try:
            await behaviour(talk)
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass  # the client hung up, as it may, or the test is over
        finally:
            writer.close()
