"""Looks on the wire between the synthetic users and coturn, knowing nothing of their code: what passed, and when.

It loses packets over UDP, and holds those of every transport. Times are those of the kernel's monotonic clock, as
everywhere on the machine.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import cycle, pairwise
from time import monotonic
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Sequence

_SEND, _DATA = 0x0016, 0x0017  # TURN indications (RFC 8656 section 17)
_HEADER = 20  # bytes


class Run:
    """The media of one client.

    Args:
        holds: of RelayTap.

    Attributes:
        up: when each packet came from the client, by its content.
        down: when each that came back was passed to the client, in this order.
        holds: seconds for which each is held, on both ways.
    """

    def __init__(self, holds: Sequence[float]) -> None:
        self._holds = cycle(holds)
        self.up: dict[bytes, float] = {}
        self.down: dict[bytes, float] = {}
        self.holds: dict[bytes, float] = {}

    def sent(self, packet: bytes) -> None:
        """Note a packet that comes from the client."""
        self.up[packet], self.holds[packet] = monotonic(), next(self._holds)

    @property
    def round_trips(self) -> list[float]:
        """How long each packet that came back was beyond the tap, in seconds, in the order of their return."""
        return [at - self.up[packet] for packet, at in self.down.items()]

    @property
    def jitter(self) -> float:
        """RFC 3550 section 6.4.1, in seconds."""
        jitter = 0.0
        for before, after in pairwise(self.round_trips):
            jitter += (abs(after - before) - jitter) / 16
        return jitter


class RelayTap:
    """Passes on what goes between clients and a coturn.

    Args:
        coturn: its port without TLS.
        lose_every: every so-manieth packet of media over UDP gets lost, on either way; 0 for none.
        holds: seconds to hold the packets of media of a client, one after the other and then from the beginning.

    Attributes:
        runs: of the clients that sent media, by transport, in the order in which they began.
    """

    def __init__(self, coturn: int, lose_every: int, holds: Sequence[float]) -> None:
        self.coturn = coturn
        self.runs: dict[str, list[Run]] = {"udp": [], "tcp": [], "tls": []}
        self._lose_every = lose_every
        self.holds = holds
        self._count = 0

    def carry(self, transport: str, run: Run, message: bytes, onward: Callable[[bytes], None]) -> None:
        """Pass a message on; media only after its time, and unless it gets lost."""
        kind = int.from_bytes(message[:2])
        if kind not in (_SEND, _DATA):
            onward(message)
            return
        packet = _payload(message)
        if kind == _SEND:
            if not run.up:
                self.runs[transport].append(run)
            run.sent(packet)
        if transport == "udp" and self._loses():
            return

        def release() -> None:
            if kind == _DATA:
                run.down[packet] = monotonic()
            onward(message)

        asyncio.get_running_loop().call_later(run.holds[packet], release)

    def _loses(self) -> bool:
        self._count += 1
        return bool(self._lose_every) and self._count % self._lose_every == 0

    async def stream(self, transport: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client over TCP or TLS, until one side ends."""
        there, onward = await asyncio.open_connection("127.0.0.1", self.coturn)
        run = Run(self.holds)

        async def way(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    header = await source.readexactly(_HEADER)
                    message = header + await source.readexactly(int.from_bytes(header[2:4]))
                    self.carry(transport, run, message, target.write)

        ways = {asyncio.create_task(way(reader, onward)), asyncio.create_task(way(there, writer))}
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in (onward, writer):
            end.transport.abort()
        await asyncio.wait(ways)


class _Leg(asyncio.DatagramProtocol):
    """The tap's side towards coturn, for one client over UDP."""

    def __init__(self, tap: RelayTap, to_client: Callable[[bytes], None]) -> None:
        self._tap, self._to_client = tap, to_client
        self._transport: asyncio.DatagramTransport | None = None
        self._run = Run(tap.holds)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def up(self, data: bytes) -> None:
        """Pass on what the client sent; what comes before there is a way to coturn gets lost, and is sent again."""
        if self._transport is not None:
            self._tap.carry("udp", self._run, data, self._transport.sendto)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - asyncio's signature
        self._tap.carry("udp", self._run, data, self._to_client)


class _Front(asyncio.DatagramProtocol):
    """The tap's side towards the clients, over UDP."""

    def __init__(self, tap: RelayTap) -> None:
        self._tap = tap
        self._legs: dict[tuple[str, int], _Leg] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr in self._legs:
            self._legs[addr].up(data)
            return
        assert self._transport is not None
        self._legs[addr] = leg = _Leg(self._tap, partial(self._transport.sendto, addr=addr))
        task = asyncio.create_task(self._open(leg, data))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, leg: _Leg, first: bytes) -> None:
        there = ("127.0.0.1", self._tap.coturn)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: leg, remote_addr=there)
        leg.up(first)


@asynccontextmanager
async def relay_tap(port: int, tls_port: int, secure: ssl.SSLContext, tap: RelayTap) -> AsyncIterator[None]:
    """Serve clients inside the context.

    Args:
        port: to listen on for UDP and TCP.
        tls_port: to listen on for TLS.
        secure: has coturn's certificate.
        tap: gets what passes.
    """
    here = "127.0.0.1"
    udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Front(tap), local_addr=(here, port))
    try:
        tcp = await asyncio.start_server(partial(tap.stream, "tcp"), here, port)
        tls = await asyncio.start_server(partial(tap.stream, "tls"), here, tls_port, ssl=secure)
        try:
            yield
        finally:
            tcp.close()
            tls.close()
    finally:
        udp.close()


def _payload(indication: bytes) -> bytes:
    """Return the value of the DATA attribute (RFC 8656 section 18.4)."""
    at = _HEADER
    while at + 4 <= len(indication):
        kind, size = int.from_bytes(indication[at : at + 2]), int.from_bytes(indication[at + 2 : at + 4])
        if kind == 0x0013:
            return indication[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
    return b""
