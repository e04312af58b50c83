"""Connections that are open but useless (deaf, slow, or never with a free stream) lose no call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway import channel
from gateway.timing import Timing
from lab.fakes import apns
from lab.fakes.http2 import INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, Behaviour
from tests.gateway.conftest import ANDROID, Start, until, withhold

if TYPE_CHECKING:
    from lab.fakes.apns import FakeApns
    from lab.fakes.fcm import FakeFcm
    from lab.fakes.http2 import Request

IMPATIENT = {"timing": Timing(idle=0.2, awaiting=0.2, pong=3, patience=0.4)}


def deaf(apple: FakeApns) -> list[Request]:
    """Make the first connection deaf; it still answers PINGs. Returns what it does not answer."""
    first, unheard = apple.live[0], []

    def answer(request: Request) -> None:
        if request.connection is first:
            unheard.append(request)
        else:
            apns.accept(request)

    apple.answer = answer
    return unheard


async def test_the_first_call_on_a_deaf_connection_is_delivered(start: Start, apple: FakeApns) -> None:
    """On a quiet node no other call would show that the connection is deaf."""
    caller = await start(workings=IMPATIENT)
    deaf(apple)
    assert (await caller.push()).outcome == "sent"
    assert len({push.id for push in apple.received}) == 1
    await until(lambda: len(apple.live) == 1)
    assert (await caller.counts()) == {"push_voip_sent_total": 1}


async def test_every_call_on_a_deaf_connection_is_delivered(start: Start, apple: FakeApns) -> None:
    caller = await start(workings=IMPATIENT)
    unheard = deaf(apple)
    calls = [asyncio.create_task(caller.push(f"{number:064x}")) for number in range(45)]
    assert {answer.outcome for answer in await asyncio.gather(*calls)} == {"sent"}
    counts = await caller.counts()
    assert counts["push_voip_sent_total"] == 45
    again = counts['push_retries_total{handler="voip",reason="no_answer"}']
    assert len(unheard) - again in (0, 1)  # one is the probe, if no new call was


@pytest.mark.parametrize("number", [1, 20])
async def test_calls_on_a_connection_that_says_goodbye_and_then_nothing_are_delivered(
    start: Start, apple: FakeApns, number: int
) -> None:
    caller = await start(workings=IMPATIENT)
    unheard = deaf(apple)
    calls = [asyncio.create_task(caller.push(f"{digit:064x}")) for digit in range(number)]
    await until(lambda: len(unheard) == number)
    unheard[0].connection.goaway()
    assert {answer.outcome for answer in await asyncio.gather(*calls)} == {"sent"}
    assert len({push.id for push in apple.received}) == number


async def test_a_deaf_connection_shows_while_nothing_else_is_known(start: Start, apple: FakeApns) -> None:
    caller = await start(workings=IMPATIENT)
    kept: list[Request] = []
    apple.answer = withhold(kept)
    call = asyncio.create_task(caller.push())
    await until(lambda: len(apple.connections) == 2)
    assert (await caller.health())["apns"] == "unavailable"
    assert 'push_provider_state{handler="voip"}' not in await caller.samples()
    apns.accept(kept[-1])
    assert (await call).outcome == "sent"
    assert (await caller.health())["apns"] == "connected"


@pytest.mark.parametrize("first", ["old", "new"])
async def test_a_slow_provider_gets_one_call_twice_at_most(start: Start, apple: FakeApns, first: str) -> None:
    """All answers take longer than we are patient. One call is sent on a second connection, to learn that.

    Then both connections have answers at once. Whichever is read first, the old one is not deaf.
    """
    caller = await start(workings=IMPATIENT)
    kept: list[Request] = []
    apple.answer = withhold(kept)
    calls = [asyncio.create_task(caller.push(f"{number:064x}")) for number in range(10)]
    await until(lambda: len(apple.connections) == 2)
    await until(lambda: len(kept) == 11)
    apple.answer = apns.accept
    for request in kept if first == "old" else reversed(kept):
        apns.accept(request)
    assert {answer.outcome for answer in await asyncio.gather(*calls)} == {"sent"}
    assert len(apple.received) == 11
    assert len({push.id for push in apple.received}) == 10


async def test_new_calls_are_the_probe_if_there_are_any(start: Start, apple: FakeApns) -> None:
    """Then none is sent twice, however slow the answers are."""
    caller = await start(workings=IMPATIENT)
    kept: list[Request] = []
    apple.answer = withhold(kept)
    apple.behaviour = Behaviour(streams=1)
    apple.live[0].limit(1)
    await asyncio.sleep(0.05)
    first = asyncio.create_task(caller.push("1" * 64))
    second = asyncio.create_task(caller.push("2" * 64))
    await until(lambda: len(kept) == 2)  # the second has waited for room, and found it on the new connection
    for request in kept:
        apns.accept(request)
    assert {answer.outcome for answer in await asyncio.gather(first, second)} == {"sent"}
    assert len(apple.received) == 2


async def test_a_peer_that_never_answers_gets_no_endless_connections(start: Start, apple: FakeApns) -> None:
    caller = await start(workings=IMPATIENT)
    apple.answer = lambda _: None
    calls = [asyncio.create_task(caller.push(headers={"TTL": "4"})) for _ in range(5)]
    assert {answer.outcome for answer in await asyncio.gather(*calls)} == {"failed"}
    assert len(apple.connections) <= channel.CONNECTIONS
    assert len(apple.received) <= 5 + channel.CONNECTIONS


@pytest.mark.parametrize("setting", [MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE])
async def test_a_connection_that_never_has_room_is_replaced(start: Start, apple: FakeApns, setting: int) -> None:
    """APNs does so to connections that it considers bad: it allows no streams any more (pushy 811)."""
    caller = await start(workings=IMPATIENT)
    apple.live[0].set(setting, 0)
    await asyncio.sleep(0.05)
    calls = [asyncio.create_task(caller.push(f"{number:064x}")) for number in range(5)]
    assert {answer.outcome for answer in await asyncio.gather(*calls)} == {"sent"}
    assert len(apple.received) == 5
    assert len(apple.connections) == 2


async def test_a_connection_whose_window_is_used_up_for_good_is_replaced(start: Start, google: FakeFcm) -> None:
    google.behaviour = Behaviour(window=65_535)
    caller = await start(workings=IMPATIENT)
    google.behaviour = Behaviour()
    pushes = [asyncio.create_task(caller.push("n" * 3000, "message")) for _ in range(30)]
    assert {answer.outcome for answer in await asyncio.gather(*pushes)} == {"sent"}
    assert len(google.received) == 30
    assert (await caller.push(ANDROID, "call")).outcome == "sent"


async def test_a_stuck_request_beside_others_that_are_answered_puts_nothing_in_doubt(
    start: Start, apple: FakeApns
) -> None:
    """On a connection that lives, APNs may have the push; a second one could ring twice."""
    caller = await start(workings=IMPATIENT)
    kept: list[Request] = []
    apple.answer = lambda request: kept.append(request) if not kept else apns.accept(request)
    stuck = asyncio.create_task(caller.push("f" * 64, headers={"TTL": "2"}))
    await until(lambda: len(kept) == 1)
    while not stuck.done():
        assert (await caller.push()).outcome == "sent"
        await asyncio.sleep(0.05)
    assert stuck.result().outcome == "failed"
    assert len(apple.connections) == 1
