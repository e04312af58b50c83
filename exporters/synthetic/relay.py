"""What a call does with a TURN server: get a relay with the credentials Prosody gave, and send media through it."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from exporters.synthetic.leg import Leg, RelayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from xml.etree.ElementTree import Element

    from exporters.synthetic.config import Relay
    from exporters.synthetic.leg import Way

SERVICES = "urn:xmpp:extdisco:2"  # XEP-0215
PACKETS, PACKET_EVERY, PACKET_BYTES = 100, 0.02, 160  # as audio: 50 a second, for two seconds
_STRAGGLERS = 1.0  # seconds to wait for packets after the last was sent
_PATIENCE = 5.0  # seconds to get a relay
_ID = 8  # bytes that tell our packets of this run


class TurnCredentials(NamedTuple):
    """TURN credentials as Prosody gave them; `lifetime` in seconds, None if it did not say."""

    username: str
    password: str
    lifetime: float | None


@dataclass(frozen=True)
class Media:
    """What became of one run of packets.

    Args:
        sent: how many.
        round_trips: seconds, of those that came back.
        jitter: RFC 3550 section 6.4.1, in seconds; None with fewer than two.
        first: seconds from the beginning, connection and relay included, until the first came back; None if none did.
    """

    sent: int
    round_trips: tuple[float, ...]
    jitter: float | None
    first: float | None


def credentials_in(services: Element) -> TurnCredentials | None:
    """Find the credentials in the answer to a request for external services; None if it offers no TURN with any."""
    for service in services.iter(f"{{{SERVICES}}}service"):
        username, password = service.get("username"), service.get("password")
        if service.get("type") in ("turn", "turns") and username and password:
            return TurnCredentials(username, password, _lifetime(service.get("expires", "")))
    return None


def _lifetime(expires: str) -> float | None:
    try:
        at = datetime.fromisoformat(expires)
    except ValueError:
        return None
    return (at - datetime.now(UTC)).total_seconds() if at.tzinfo else None


@asynccontextmanager
async def _relay(
    relay: Relay, transport: str, credentials: TurnCredentials, way: Way, on_data: Callable[[bytes, bytes], None]
) -> AsyncIterator[Leg]:
    """Have a relay inside the context. Raises RelayError."""
    leg: Leg | None = None
    try:
        try:
            async with asyncio.timeout(_PATIENCE):
                leg = await Leg.connect(relay, transport, way, on_data)
                await leg.allocate(credentials.username, credentials.password)
        except TimeoutError:
            raise RelayError("timeout", f"no relay within {_PATIENCE:g} s") from None
        yield leg
    finally:
        if leg is not None:
            await leg.close()


async def allocate(relay: Relay, credentials: TurnCredentials, way: Way) -> None:
    """Get a relay over UDP, and release it. Raises RelayError."""
    async with _relay(relay, "udp", credentials, way, lambda _, __: None):
        pass


async def send_media(relay: Relay, transport: str, credentials: TurnCredentials, way: Way) -> Media:
    """Send packets through a relay to the relay's own address, from where they come back. Raises RelayError.

    A packet passes as in a call: from one phone to the relay, and from the relay to a phone.
    """
    run = _Run()
    async with _relay(relay, transport, credentials, way, run.returned) as leg:
        try:
            async with asyncio.timeout(_PATIENCE):
                await leg.permit(leg.relayed)
        except TimeoutError:
            raise RelayError("timeout", f"no permission for a peer within {_PATIENCE:g} s") from None
        await run.send(leg)
    return run.media()


class _Run:
    """One run of packets, which remembers when each was sent and came back."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._began = self._clock()
        self._id = secrets.token_bytes(_ID)
        self._sent: list[float] = []
        self._back: dict[int, float] = {}  # number -> when, in the order of arrival
        self._all_back = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def returned(self, _: bytes, data: bytes) -> None:
        """Note a packet that came back; a second copy of it does not count."""
        number = int.from_bytes(data[_ID : _ID + 4])
        if data.startswith(self._id) and number < len(self._sent):
            self._back.setdefault(number, self._clock())
            if len(self._back) == PACKETS:
                self._all_back.set()

    async def send(self, leg: Leg) -> None:
        """Send every packet at its time, then wait for the last ones."""
        now = self._clock()
        # All runs send at the same moments: to be woken costs the exporter more than to send.
        self._send_next(leg, now - now % PACKET_EVERY)
        try:
            async with asyncio.timeout(PACKETS * PACKET_EVERY + _STRAGGLERS):
                await self._all_back.wait()
        except TimeoutError:
            pass  # some are lost
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _send_next(self, leg: Leg, start: float) -> None:
        """Send a packet now and the others at their times: by a timer, since a sleep wakes the exporter twice."""
        number = len(self._sent)
        self._sent.append(self._clock())
        leg.send(leg.relayed, (self._id + number.to_bytes(4)).ljust(PACKET_BYTES, b"\0"))
        if len(self._sent) < PACKETS:
            self._timer = self._loop.call_at(start + len(self._sent) * PACKET_EVERY, self._send_next, leg, start)

    def media(self) -> Media:
        """Say what became of it."""
        transits = [at - self._sent[number] for number, at in self._back.items()]
        jitter: float | None = None
        for before, after in pairwise(transits):
            jitter = (jitter or 0.0) + (abs(after - before) - (jitter or 0.0)) / 16
        first = min(self._back.values()) - self._began if self._back else None
        return Media(len(self._sent), tuple(transits), jitter, first)
