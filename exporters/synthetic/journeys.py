"""The journeys of XMPP: what a user does between two places, done once, and what came of it. TURN: turn_journeys.py.

Every journey ends in exactly one record per pair of places, whatever happens. It is "ok" only if the other side itself
saw what was promised: the receiver the message, the contact the presence, the server the resumed session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporters.synthetic.door import reason_of
from exporters.synthetic.names import (
    AWAY,
    FORCE_QUIT,
    LOGIN,
    MESSAGE,
    OK,
    ONLINE,
    RESUME,
    VANISH,
)
from exporters.synthetic.snapshot import JourneyPlace
from xmpp.errors import XmppError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from xml.etree.ElementTree import Element

    from exporters.synthetic.config import Node
    from exporters.synthetic.door import Door
    from exporters.synthetic.marks import Marks
    from exporters.synthetic.recorder import Recorder
    from exporters.synthetic.residents import Resident
    from exporters.synthetic.tally import Tally
    from xmpp.client import XmppClient
    from xmpp.session import Show

# For each contact: when it saw what it looks out for, and why its own session is over.
Watched = Mapping["Resident", tuple[asyncio.Future[float], asyncio.Future[str]]]

_log = logging.getLogger(__name__)
PROBE = "urn:commeazy:synthetic:1"
# No copy to the account's other devices, and no place in an archive or among offline messages (XEP-0334).
_HINTS = "<no-store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/>"
_SHOWS: dict[str, Show] = {ONLINE: "available", AWAY: "away"}
MESSAGE_DEADLINE = 5.0  # seconds
SEEN_DEADLINE = 10.0  # seconds until a contact must have seen who is there
_DEADLINE_SHARE = 0.9  # of the interval, for what may take minutes


@dataclass
class _Pending:
    """A message under way."""

    sender: Resident
    receiver: Resident
    address: str  # it comes from
    answer: asyncio.Future[tuple[str, float]]


class Journeys:
    """Does the journeys.

    Args:
        domain: of the test accounts.
        door: logs visitors in.
        marks: sign messages.
        recorder: gets every result.
        tally: counts what else was seen: dropped messages, and the stages of logins.
    """

    def __init__(self, domain: str, door: Door, marks: Marks, recorder: Recorder, tally: Tally) -> None:
        self._domain = domain
        self._door = door
        self._marks = marks
        self._recorder = recorder
        self._tally = tally
        self._clock = asyncio.get_running_loop().time
        self._pending: dict[str, _Pending] = {}

    # Messages --------------------------------------------------------------------------------------------------

    async def message(self, sender: Resident, receiver: Resident) -> None:
        """Send a message from one resident to another one's account, as users do, and wait for its receipt."""
        place, began = JourneyPlace(MESSAGE, sender.node.name, receiver.node.name), self._clock()
        for resident in (sender, receiver):
            if resident.client is None:
                self._recorder.record(place, began, resident.failure)
                return
        assert sender.client is not None
        mark = self._marks.new()
        answer: asyncio.Future[tuple[str, float]] = asyncio.get_running_loop().create_future()
        self._pending[mark] = _Pending(sender, receiver, sender.client.full_jid, answer)
        lost = {sender.lost, receiver.lost}
        sent = self._clock()
        try:
            payload = f"<probe xmlns='{PROBE}'>{mark}</probe>{_HINTS}"
            await sender.client.send_message(f"{receiver.user}@{self._domain}", payload, mark)
            left = sent + MESSAGE_DEADLINE - self._clock()
            await _first({answer, *lost}, max(0.0, left))
        except XmppError as error:
            self._recorder.record(place, began, reason_of(error), str(error))
            return
        finally:
            del self._pending[mark]
        if answer.done():
            result, at = answer.result()
            self._recorder.record(place, began, result, seconds=at - sent)
        elif over := next((future for future in lost if future.done()), None):
            self._recorder.record(place, began, over.result())
        else:
            sender.doubt()
            receiver.doubt()
            self._recorder.record(place, began, "timeout")

    def arrived(self, resident: Resident, message: Element, now: float) -> None:
        """Look at a message that a resident got; what is not an answer to one under way is counted and forgotten."""
        if message.get("type") == "error":
            mark = message.get("id", "")
            pending = self._pending.get(mark)
            if pending is not None and pending.sender is resident:
                self._answer(pending, "bounced", now)
            else:
                self._tally.dropped("late" if self._marks.genuine(mark) else "stranger")
            return
        text = message.findtext(f"{{{PROBE}}}probe")
        pending = self._pending.get(text or "")
        if text is None:
            self._tally.dropped("stranger")
        elif not self._marks.genuine(text):
            self._tally.dropped("forged")
        elif pending is None:
            self._tally.dropped("late")
        elif pending.receiver is not resident or message.get("from") != pending.address:
            self._tally.dropped("misdelivered")
        else:
            self._answer(pending, OK, now)

    @staticmethod
    def _answer(pending: _Pending, result: str, now: float) -> None:
        if not pending.answer.done():
            pending.answer.set_result((result, now))

    # Logins ----------------------------------------------------------------------------------------------------

    async def login(self, node: Node, user: str) -> None:
        """Log in, without showing up, and leave."""
        place, began = JourneyPlace(LOGIN, node.name, node.name), self._clock()
        client = self._door.client(node, user)
        try:
            await self._door.login(client, node)
        except XmppError as error:
            self._recorder.record(place, began, reason_of(error), str(error))
            return
        if self._recorder.record(place, began, OK, seconds=sum(client.stages.values())):
            self._tally.stages(client.stages)
        await _leave(client)

    async def resume(self, node: Node, user: str) -> None:
        """Log in, break the connection, and take the session up again on the same node."""
        place, began = JourneyPlace(RESUME, node.name, node.name), self._clock()
        client = self._door.client(node, user)
        try:
            await self._door.login(client, node, management="resumable")
            client.abort()
            broken = self._clock()
            await client.resume()
            resumed = self._clock()
            self._door.check(client, node)
            await client.ping()  # the session answers, so it is alive
            self._recorder.record(place, began, OK, seconds=resumed - broken)
        except XmppError as error:
            self._recorder.record(place, began, reason_of(error), str(error))
        finally:
            await _leave(client)

    # Presence --------------------------------------------------------------------------------------------------

    async def presence(self, node: Node, user: str, contacts: Iterable[Resident]) -> None:
        """Come online and go away; each contact must see it."""
        began = self._clock()
        left = {ONLINE: list(contacts), AWAY: list(contacts)}
        client = self._door.client(node, user)
        try:
            await self._door.login(client, node)
            for journey, show in _SHOWS.items():
                with _watching(client.full_jid, show, left[journey]) as watched:
                    since = self._clock()
                    await client.presence(show)
                    left[journey] = []
                    await self._sightings(journey, node, since, watched, SEEN_DEADLINE)
        except XmppError as error:
            self._record_all(node, left, began, error)
        finally:
            await _leave(client)

    async def force_quit(self, node: Node, user: str, contacts: Sequence[Resident], interval: float) -> None:
        """Come online and break the connection; each contact must see the user go, some time later."""
        await self._go(FORCE_QUIT, node, user, contacts, interval)

    async def vanish(self, node: Node, user: str, contacts: Sequence[Resident], interval: float) -> None:
        """Come online and fall silent while the socket stays open; each contact must see the user go, much later."""
        await self._go(VANISH, node, user, contacts, interval)

    async def _go(self, journey: str, node: Node, user: str, contacts: Sequence[Resident], interval: float) -> None:
        began = self._clock()
        left = {journey: list(contacts)}
        client = self._door.client(node, user)
        try:
            await self._door.login(client, node, management="resumable")
            with _watching(client.full_jid, "available", contacts) as online:
                await client.presence("available")
                left[journey] = []
                seen = await self._seen(online, SEEN_DEADLINE)
            for contact, result in seen.items():
                if isinstance(result, str):
                    place = JourneyPlace(journey, node.name, contact.node.name)
                    self._recorder.record(place, began, "unseen" if result == "timeout" else result)
            witnesses = left[journey] = [contact for contact, result in seen.items() if isinstance(result, float)]
            with _watching(client.full_jid, "unavailable", witnesses) as gone:
                since = self._clock()
                if client.end is not None:  # it has gone before it should
                    raise client.end
                if journey == VANISH:
                    client.vanish()
                else:
                    client.abort()
                left[journey] = []
                await self._sightings(journey, node, since, gone, interval * _DEADLINE_SHARE)
        except XmppError as error:
            self._record_all(node, left, began, error, "unseen")
        finally:
            client.abort()  # the server ends the session when its hibernation is over

    async def _seen(self, watched: Watched, deadline: float) -> dict[Resident, float | str]:
        """Wait until each contact has seen it, has lost its own session, or time is up: when, or the result instead."""
        until = self._clock() + deadline

        async def one(seen: asyncio.Future[float], lost: asyncio.Future[str]) -> float | str:
            left = max(0.0, until - self._clock())
            await _first({seen, lost}, left)
            if seen.done():
                return seen.result()
            return lost.result() if lost.done() else "timeout"

        results = await asyncio.gather(*(one(*futures) for futures in watched.values()))
        return dict(zip(watched, results, strict=True))

    async def _sightings(
        self,
        journey: str,
        node: Node,
        since: float,
        watched: Watched,
        deadline: float,
    ) -> None:
        for contact, result in (await self._seen(watched, deadline)).items():
            place = JourneyPlace(journey, node.name, contact.node.name)
            if isinstance(result, float):
                self._recorder.record(place, since, OK, seconds=result - since)
            else:
                if result == "timeout":
                    contact.doubt()
                self._recorder.record(place, since, result)

    def _record_all(
        self,
        node: Node,
        left: Mapping[str, Iterable[Resident]],
        began: float,
        error: XmppError,
        late: str = "timeout",
    ) -> None:
        """Record how a visit ended before these contacts could see anything; as `late` if it took too long."""
        result = late if reason_of(error) == "timeout" else reason_of(error)
        for journey, contacts in left.items():
            for contact in contacts:
                self._recorder.record(JourneyPlace(journey, node.name, contact.node.name), began, result, str(error))


@contextmanager
def _watching(address: str, kind: str, contacts: Iterable[Resident]) -> Iterator[Watched]:
    """Let contacts look out for a presence inside the context."""
    watched = {contact: (contact.watch(address, kind), contact.lost) for contact in contacts}
    try:
        yield watched
    finally:
        for seen, _ in watched.values():
            seen.cancel()


async def _first(futures: AbstractSet[asyncio.Future[Any]], seconds: float) -> None:
    """Wait until one of them is done, or time is up."""
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


async def _leave(client: XmppClient) -> None:
    """End a visit; the session is gone at once, unless the server cannot be reached."""
    with suppress(XmppError):
        await client.disconnect()
    client.abort()
