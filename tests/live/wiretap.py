"""Looks on the wire between the synthetic users and a Prosody, knowing nothing of their code: what passed, and when.

It understands WebSocket without TLS. Times are those of the kernel's monotonic clock, as everywhere on the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_NONCE = re.compile(r"<probe[^>]*>([^<]+)</probe>")
_TO = re.compile(r"""<message[^>]* to=["']([^@"']+)@""")
_FROM = re.compile(r"""<presence[^>]* from=["']([^"']+)["']""")
_KIND = re.compile(r"""type=["'](\w+)["']|<show>(\w+)</show>""")


class Frames:
    """Cuts the text frames out of one direction of a WebSocket (RFC 6455 section 5.2), after the HTTP part."""

    def __init__(self) -> None:
        self._buffer = b""
        self._open = False

    def feed(self, data: bytes) -> list[str]:
        self._buffer += data
        if not self._open:
            _, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return []
            self._open, self._buffer = True, rest
        texts = []
        while (frame := self._frame()) is not None:
            texts.append(frame)
        return texts

    def _frame(self) -> str | None:
        data = self._buffer
        if len(data) < 2:
            return None
        masked, size, at = data[1] & 0x80, data[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[2 : 2 + width]), 2 + width
        key = data[at : at + 4] if masked else bytes(4)
        at += 4 if masked else 0
        if len(data) < at + size:
            return None
        self._buffer = data[at + size :]
        text = bytes(byte ^ key[index % 4] for index, byte in enumerate(data[at : at + size]))
        return text.decode() if data[0] & 0x0F == 1 else ""


@dataclass
class Message:
    """When a message passed on its way to the server, and on its way to the receiver; and for which account it is."""

    to: str = ""
    up: float = 0.0
    down: float = 0.0


@dataclass
class Seen:
    """What all taps of a test saw.

    Attributes:
        messages: by nonce.
        resets: when a client's connection broke, by its full address.
        shown: when a client said so, by its full address and what it said.
        presences: when each presence passed to a client, by its sender's full address and what it said.
    """

    messages: dict[str, Message] = field(default_factory=dict)
    resets: dict[str, float] = field(default_factory=dict)
    shown: dict[tuple[str, str], float] = field(default_factory=dict)
    presences: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def up(self, text: str, address: str) -> None:
        """Note what comes from the client that has this full address."""
        now = time.monotonic()
        for nonce in _NONCE.findall(text):
            to = _TO.search(text)
            self.messages[nonce] = Message(to[1] if to else "", now)
        if "<presence" in text:
            self.shown[address, _kind(text)] = now

    def down(self, text: str) -> str:
        """Note what goes to a client; return its full address if this binds it."""
        now = time.monotonic()
        for nonce in _NONCE.findall(text):
            if "type='error'" not in text:
                self.messages.setdefault(nonce, Message()).down = now
        if sender := _FROM.search(text):
            self.presences.setdefault((sender[1], _kind(text)), []).append(now)
        bound = re.search(r"<jid>([^<]+)</jid>", text)
        return bound[1] if bound else ""

    def took(self, to: str) -> list[float]:
        """Return for each message delivered to this account how long it was beyond the tap, in order of sending."""
        return [one.down - one.up for one in self.messages.values() if one.to == to and one.up and one.down]

    def appeared(self, kind: str) -> list[float]:
        """Return for each presence of this kind how long it took until it passed to a client."""
        return [min(times) - self.shown[key] for key, times in self.presences.items() if key[1] == kind]

    def gone(self, *, silent: bool) -> list[float]:
        """Return for each user that left without a goodbye how long it took until that passed to a client.

        Args:
            silent: whether those that stopped answering, or those that broke their connection. Both did so as soon as
                the contact had seen them; the connection of a silent one stays for a read timeout, 2 s, or longer.
        """
        found = []
        for (address, kind), times in self.presences.items():
            online = self.presences.get((address, "available"))
            if kind == "unavailable" and online and address in self.resets and (address, "away") not in self.shown:
                seen, broken = min(online), self.resets[address]
                if (broken - seen > 1) is silent:
                    found.append(min(times) - (seen if silent else broken))
        return found


def _kind(presence: str) -> str:
    found = _KIND.search(presence)
    return (found[1] or found[2]) if found else "available"


@contextlib.asynccontextmanager
async def websocket_tap(port: int, seen: Seen, hold: float = 0.0) -> AsyncIterator[int]:
    """Pass everything on to a Prosody's HTTP port; yield the port to connect to instead.

    Args:
        port: of Prosody.
        seen: gets what passes.
        hold: seconds for which each message to a client is held back.
    """
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", port)
        writers.update((writer, onward))
        address = ""

        async def to_server() -> None:
            frames = Frames()
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    for text in frames.feed(data):
                        seen.up(text, address)
                    onward.write(data)

        async def to_client() -> None:
            nonlocal address
            frames = Frames()
            with contextlib.suppress(OSError):
                while data := await there.read(65536):
                    await asyncio.sleep(hold * (b"<probe" in data))
                    for text in frames.feed(data):
                        address = seen.down(text) or address
                    writer.write(data)

        ways = {asyncio.create_task(to_server()), asyncio.create_task(to_client())}
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        seen.resets[address] = time.monotonic()
        for end in (onward, writer):  # what one side broke is broken for the other
            end.transport.abort()
        await asyncio.wait(ways)
        writers.difference_update((writer, onward))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
