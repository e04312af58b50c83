"""A call is news for 30 seconds: what a provider is told of them, and what is not sent because they are over."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from lab import apns
from lab.http2 import Behaviour, Request
from tests.gateway.conftest import ANDROID, Start, until

if TYPE_CHECKING:
    from lab.apns import FakeApns
    from lab.fcm import FakeFcm


async def test_a_call_that_waited_for_its_connection_is_worth_only_what_is_left(start: Start, google: FakeFcm) -> None:
    """FCM keeps a push for its ttl; one counted from before the wait would let a call ring when it has ended."""
    port = google.port
    caller = await start()
    await google.stop()
    await until(lambda: not caller.gateway.deliveries["fcm"].ready)
    call = asyncio.create_task(caller.push(ANDROID, "call"))
    await asyncio.sleep(2.1)
    await google.start(port)
    assert (await call).outcome == "sent"
    (push,) = google.received
    assert push.ttl <= 28


async def test_a_call_whose_time_passed_while_the_process_stood_still_is_not_sent(
    start: Start, apple: FakeApns
) -> None:
    """A machine that was paused goes on with what it has read, before it looks at the clock."""
    apple.behaviour = Behaviour(streams=1)
    caller = await start()
    kept: list[Request] = []
    apple.answer = kept.append
    first = asyncio.create_task(caller.push())
    await until(lambda: len(kept) == 1)
    waiting = asyncio.create_task(caller.push(headers={"TTL": "1"}))
    await until(lambda: caller.inflight("voip") == 2)
    apns.accept(kept[0])
    time.sleep(1.2)  # noqa: ASYNC251 - the whole process stands still, as it does then
    assert (await waiting).outcome == "expired"
    assert (await first).outcome == "sent"
    assert len(kept) == 1
