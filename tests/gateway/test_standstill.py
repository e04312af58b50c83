"""This process or a provider stands still: what happened meanwhile counts, and no push is sent twice for it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from gateway import channel
from gateway.timing import Timing
from lab.fakes import apns
from lab.fakes.http2 import PING
from tests.gateway.conftest import Start, until, withhold

if TYPE_CHECKING:
    from lab.fakes.apns import FakeApns
    from lab.fakes.http2 import Request

IMPATIENT = {"timing": Timing(idle=0.2, awaiting=0.2, pong=3, patience=0.4)}


def stand_still(seconds: float) -> None:
    """Stop just after select has found nothing, as a process that is stopped there, or has to wait there for a core."""
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]

    def stopped(_: float | None = None) -> list[object]:
        del selector.select
        time.sleep(seconds)
        return []

    selector.select = stopped


async def test_an_answer_that_came_before_the_deadline_counts(start: Start, apple: FakeApns) -> None:
    caller = await start()

    def answer(request: Request) -> None:
        apns.accept(request)
        stand_still(1.5)

    apple.answer = answer
    assert (await caller.push(headers={"TTL": "1"})).outcome == "sent"


async def test_a_ping_that_was_answered_meanwhile_ends_no_connection(start: Start, apple: FakeApns) -> None:
    caller = await start()
    kept: list[Request] = []
    apple.answer = withhold(kept)
    peer = apple.live[0]
    send = peer.send

    def send_and_stand_still(kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        send(kind, flags, stream_id, payload)
        if kind == PING and kept:
            peer.send = send  # type: ignore[method-assign]
            stand_still(0.7)
            apns.accept(kept[0])

    peer.send = send_and_stand_still  # type: ignore[method-assign]
    assert (await caller.push()).outcome == "sent"
    assert (len(apple.received), len(apple.connections)) == (1, 1)


async def test_a_connection_that_answered_meanwhile_is_not_deaf(start: Start, apple: FakeApns) -> None:
    caller = await start(workings=IMPATIENT)
    kept: list[Request] = []
    apple.answer = withhold(kept)
    calls = [asyncio.create_task(caller.push(f"{number:064x}")) for number in range(10)]
    await until(lambda: len(kept) == 11)
    apple.answer = apns.accept
    apns.accept(kept[-1])
    await until(lambda: caller.inflight("voip") == 9)
    for request in kept[:-1]:
        apns.accept(request)
    stand_still(2 * channel.VERDICT)
    assert {answer.outcome for answer in await asyncio.gather(*calls)} == {"sent"}
    assert len(apple.received) == 11


async def test_a_fault_on_the_second_connection_does_not_undo_what_the_first_may_have_done(
    start: Start, apple: FakeApns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "VERDICT", 30)
    caller = await start(workings=IMPATIENT)
    kept: list[Request] = []
    apple.answer = withhold(kept)
    call = asyncio.create_task(caller.push())
    await until(lambda: len(kept) == 2)
    apple.answer = apns.accept
    apns.refuse(kept[1], 503, "ServiceUnavailable")
    await until(lambda: not caller.gateway.handlers["voip"].channel.in_doubt)
    apns.accept(kept[0])
    assert (await call).outcome == "sent"
    assert len(apple.received) == 2


@pytest.mark.parametrize("lost", ["killed", "reset"])
async def test_a_call_that_may_have_been_accepted_is_failed_and_not_expired(
    start: Start, apple: FakeApns, lost: str
) -> None:
    """Its answer is lost, and then there is no provider any more: nobody knows whether it rang."""
    caller = await start()
    ending: list[asyncio.Task[None]] = []

    def answer(request: Request) -> None:
        if lost == "reset":
            request.reset()
        ending.append(asyncio.create_task(apple.stop()))

    apple.answer = answer
    assert (await caller.push(headers={"TTL": "2"})).outcome == "failed"
    counts = await caller.counts()
    assert counts["push_voip_failed_total"] == 1
    assert 'push_expired_total{handler="voip"}' not in counts
