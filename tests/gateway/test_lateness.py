"""A call is worth sending for 30 seconds: the expiry that a provider receives, and what is not sent after it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from gateway.metrics import STAGES
from lab.fakes import apns, fcm
from lab.fakes.http2 import Behaviour, Request
from tests.gateway.conftest import ANDROID, Answering, Clock, Minting, Pki, Start, until
from toolkit import connections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.tokens import Attempt
    from lab.fakes.apns import FakeApns
    from lab.fakes.fcm import FakeFcm


async def test_a_call_that_waited_for_its_connection_is_worth_only_what_is_left(start: Start, google: FakeFcm) -> None:
    """FCM keeps a push for its ttl; one counted from before the wait would let a call ring when it has ended."""
    port = google.port
    caller = await start()
    await google.stop()
    await until(lambda: not caller.gateway.handlers["fcm"].ready)
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


async def test_a_caller_waits_for_a_slow_provider_longer_than_a_request_may_take_to_arrive(
    start: Start, apple: FakeApns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The web server's limits are for clients that do not send; a call may need its whole 30 s."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.3)
    caller = await start()
    kept: list[Request] = []
    apple.answer = kept.append
    for body in ("first on its connection", "second"):
        waiting = asyncio.create_task(caller.push(body=body))
        await until(lambda: bool(kept))
        await asyncio.sleep(1.0)
        apns.accept(kept.pop())
        assert (await waiting).outcome == "sent"


async def test_a_token_that_expired_while_the_machine_slept_is_renewed_by_the_first_call(
    start: Start, google: FakeFcm
) -> None:
    """Not by the next look at the clock, which may be 20 seconds away."""
    caller = await start()
    caller.clock.ahead = 2 * 3600
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*(caller.push(ANDROID, "call") for _ in range(10)))
    assert {answer.outcome for answer in answers} == {"sent"}
    assert len({push.headers["authorization"] for push in google.received}) == 1
    assert (await caller.samples())['push_token_renewals_total{handler="fcm",result="ok"}'] == 2


async def test_calls_that_wait_for_a_token_do_not_hurry_an_endpoint_that_is_down(start: Start, pki: Pki) -> None:
    clock = Clock()
    minting = Minting(pki.key_path, clock)
    caller = await start(workings={"mint": minting, "clock": clock})
    minting.failing = (None, False, "the token endpoint does not answer")
    before = minting.attempts
    clock.ahead = 2 * 3600
    answers = await asyncio.gather(*(caller.push(ANDROID, "call", headers={"TTL": "1"}) for _ in range(10)))
    assert {answer.outcome for answer in answers} == {"expired"}
    assert minting.attempts - before <= 2


async def test_the_stages_of_a_push_add_up_to_its_latency(start: Start, google: FakeFcm, pki: Pki) -> None:
    """Whatever it waits for: an access token, a connection that is lost, another try."""
    clock = Clock()
    minting, may_mint = Minting(pki.key_path, clock), asyncio.Event()
    may_mint.set()

    async def mint(arguments: Sequence[str]) -> Attempt:
        await may_mint.wait()
        return await minting(arguments)

    caller = await start(workings={"mint": mint, "clock": clock})
    may_mint.clear()
    clock.ahead = 2 * 3600
    answers: list[Answering] = [
        fcm.accept,
        Request.reset,
        lambda request: fcm.refuse(request, 503, "UNAVAILABLE"),
        lambda request: request.connection.kill(),
    ]
    google.answer = lambda request: answers.pop()(request)  # noqa: PLW0108 - a different one each time
    call = asyncio.create_task(caller.push(ANDROID, "call"))
    await until(lambda: caller.inflight("fcm") == 1)
    await asyncio.sleep(0.3)
    may_mint.set()
    assert (await call).outcome == "sent"
    samples = await caller.samples()
    spent = {stage: samples[f'push_stage_seconds_sum{{handler="fcm",stage="{stage}"}}'] for stage in STAGES}
    assert sum(spent.values()) == pytest.approx(samples['push_latency_ms_sum{handler="fcm"}'] / 1000)
    assert spent["token"] > 0.2
    assert {samples[f'push_stage_seconds_count{{handler="fcm",stage="{stage}"}}'] for stage in STAGES} == {4}
