"""What is recorded of a user whose connection ends before the journey does; the rest is in tests/live."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from exporters.synthetic.config import Node
from exporters.synthetic.journeys import Journeys
from exporters.synthetic.snapshot import JourneyPlace
from xmpp.errors import ConnectionEndedError, DeadlineError

if TYPE_CHECKING:
    from exporters.synthetic.door import Door
    from exporters.synthetic.marks import Marks
    from exporters.synthetic.recorder import Recorder
    from exporters.synthetic.residents import Resident
    from exporters.synthetic.tally import Tally
    from xmpp.client import XmppClient

NODE = Node("prosody1", "wss://localhost/", "localhost", chosen=True)


class Contact:
    """Sees everybody at once."""

    node = NODE

    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def watch(self, _: str, __: str) -> asyncio.Future[float]:
        seen: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        seen.set_result(asyncio.get_running_loop().time())
        return seen


class Dropped:
    """A user whose connection ends as soon as the contact has seen it."""

    full_jid = "user@localhost/phone"
    end: ConnectionEndedError | None = None

    async def presence(self, _: str) -> None:
        self.end = ConnectionEndedError("the server closed the stream")

    def abort(self) -> None:
        """Nothing is left of it."""


class OpenDoor:
    """Lets everybody in."""

    def client(self, _: Node, __: str) -> XmppClient:
        return cast("XmppClient", Dropped())

    async def login(self, *_: object, **__: object) -> None:
        """It is in."""


class SlowDoor(OpenDoor):
    """Lets nobody in before time is up."""

    async def login(self, *_: object, **__: object) -> None:
        raise DeadlineError("could not log in within 5 s over websocket")


@pytest.mark.parametrize(
    ("door", "journey", "result"),
    [
        (OpenDoor(), "force_quit", "disconnected"),
        (OpenDoor(), "vanish", "disconnected"),
        (SlowDoor(), "force_quit", "unseen"),
        (SlowDoor(), "vanish", "unseen"),
    ],
)
async def test_a_user_who_was_gone_before_it_could_leave_is_not_one_who_was_seen_too_late(
    door: OpenDoor, journey: str, result: str
) -> None:
    records: list[tuple[JourneyPlace, str]] = []

    def record(place: JourneyPlace, _: float, result: str, __: str = "", *, seconds: float | None = None) -> bool:
        assert seconds is None
        records.append((place, result))
        return True

    recorder = cast("Recorder", SimpleNamespace(record=record))
    marks, tally = cast("Marks", None), cast("Tally", None)
    await getattr(Journeys("localhost", cast("Door", door), marks, recorder, tally), journey)(
        NODE, "user", [cast("Resident", Contact())], 1.0
    )
    assert records == [(JourneyPlace(f"presence_{journey}", "prosody1", "prosody1"), result)]
