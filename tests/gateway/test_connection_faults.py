"""What reaches APNs and FCM, and what the metrics say, when the way to a provider misbehaves.

Each of these was a lost or a doubled call once.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from gateway.timing import Timing
from lab.fakes import apns
from lab.fakes.http2 import REFUSED_STREAM, Behaviour, Request
from tests.gateway.conftest import ANDROID, Start, once, until, withhold

if TYPE_CHECKING:
    from lab.fakes.apns import FakeApns
    from lab.fakes.fcm import FakeFcm


async def test_a_reset_stream_is_tried_again_with_the_same_id(start: Start, apple: FakeApns) -> None:
    caller = await start()
    apple.answer = once(Request.reset)
    assert (await caller.push()).outcome == "sent"
    first, second = apple.received
    assert (first.id, first.expiration) == (second.id, second.expiration)
    assert await caller.counts() == {
        "push_voip_sent_total": 1,
        'push_retries_total{handler="voip",reason="stream_reset"}': 1,
    }


async def test_a_refused_stream_is_tried_again(start: Start, apple: FakeApns) -> None:
    caller = await start()
    apple.answer = once(lambda request: request.reset(REFUSED_STREAM))
    assert (await caller.push()).outcome == "sent"
    assert len({push.id for push in apple.received}) == 1


async def test_goaway_neither_doubles_nor_loses_what_is_in_flight(start: Start, apple: FakeApns) -> None:
    caller = await start()
    kept: list[Request] = []
    apple.answer = withhold(kept)
    calls = [asyncio.create_task(caller.push(f"{number:064x}")) for number in range(20)]
    await until(lambda: len(kept) == 20)
    old = kept[0].connection
    processed = kept[11].stream_id  # the rest, Apple says, it has not looked at
    apple.answer = apns.accept
    old.goaway(processed)
    for request in kept[:12]:
        apns.accept(request)
    assert {answer.outcome for answer in await asyncio.gather(*calls)} == {"sent"}
    again = [push.node for push in apple.received[20:]]
    assert sorted(again) == sorted(
        f"{number:064x}"
        for number in range(20)
        if f"{number:064x}" in {request.headers[":path"].removeprefix("/3/device/") for request in kept[12:]}
    )
    await until(lambda: not old.open)
    assert len(apple.live) == 1
    assert await caller.counts() == {
        "push_voip_sent_total": 20,
        'push_retries_total{handler="voip",reason="refused_stream"}': 8,
    }


async def test_a_graceful_goaway_is_answered_on_the_old_connection(start: Start, apple: FakeApns) -> None:
    caller = await start()
    kept: list[Request] = []
    apple.answer = withhold(kept)
    call = asyncio.create_task(caller.push())
    await until(lambda: bool(kept))
    kept[0].connection.goaway()
    await until(lambda: len(apple.connections) == 2)
    apple.answer = apns.accept
    assert (await caller.push()).outcome == "sent"
    assert not call.done()
    apns.accept(kept[0])
    assert (await call).outcome == "sent"
    assert len(apple.received) == 2


async def test_a_killed_connection_loses_no_call(start: Start, apple: FakeApns) -> None:
    caller = await start()
    kept: list[Request] = []
    apple.answer = withhold(kept)
    calls = [asyncio.create_task(caller.push(f"{number:064x}")) for number in range(20)]
    await until(lambda: len(kept) == 20)
    apple.answer = apns.accept
    kept[0].connection.kill()
    assert {answer.outcome for answer in await asyncio.gather(*calls)} == {"sent"}
    assert len({push.id for push in apple.received}) == 20
    counts = await caller.counts()
    assert counts["push_voip_sent_total"] == 20
    assert counts['push_retries_total{handler="voip",reason="connection_lost"}'] == 20


async def test_a_cancelled_push_and_a_lost_connection_hang_nobody(start: Start, apple: FakeApns) -> None:
    caller = await start()
    kept: list[Request] = []
    apple.answer = withhold(kept)
    late = await caller.push(headers={"TTL": "0"})
    assert late.outcome in ("expired", "failed")
    first = asyncio.create_task(caller.push(headers={"TTL": "1"}))
    others = [asyncio.create_task(caller.push()) for _ in range(3)]
    assert (await first).outcome == "failed"
    apple.answer = apns.accept
    apple.live[0].kill()
    assert {answer.outcome for answer in await asyncio.gather(*others)} == {"sent"}


async def test_tls_that_never_answers_holds_nobody_for_good(start: Start, apple: FakeApns) -> None:
    """The connection attempt ends by itself, and the next one works."""
    port = apple.port
    await apple.stop()
    accepted: list[asyncio.StreamWriter] = []
    mute = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", port)
    caller = await start(ready=False, workings={"connect_timeout": 0.3})
    call = asyncio.create_task(caller.push())
    await until(lambda: len(accepted) >= 2)
    assert (await caller.health())["apns"] == "unavailable"
    mute.close()
    for writer in accepted:
        writer.transport.abort()
    await apple.start(port)
    assert (await call).outcome == "sent"
    samples = await caller.samples()
    assert samples['push_connection_failures_total{handler="voip",reason="connect_timeout"}'] >= 1
    assert len(apple.received) == 1


async def test_a_server_that_never_sends_anything_is_no_connection(start: Start, apple: FakeApns) -> None:
    apple.behaviour.silent = True
    caller = await start(ready=False, workings={"connect_timeout": 0.2})
    answer = await caller.push(headers={"TTL": "1"})
    assert answer.outcome == "expired"
    assert (await caller.counts())['push_failures_total{handler="voip",reason="connect_timeout"}'] == 1
    assert not apple.received


async def test_no_answer_is_a_failure_that_is_not_repeated(start: Start, apple: FakeApns) -> None:
    """On a connection that lives, APNs may have the push; a second one could ring twice."""
    caller = await start()
    kept: list[Request] = []
    apple.answer = withhold(kept)
    answer = await caller.push(headers={"TTL": "1"})
    assert answer.outcome == "failed"
    assert len(apple.received) == 1
    await until(lambda: kept[0].stream_id in kept[0].connection.resets)
    assert await caller.counts() == {
        "push_voip_failed_total": 1,
        'push_calls_failed_total{handler="voip"}': 1,
        'push_failures_total{handler="voip",reason="no_answer"}': 1,
    }


async def test_a_late_answer_disturbs_no_other_call(start: Start, apple: FakeApns) -> None:
    caller = await start()
    kept: list[Request] = []
    apple.answer = withhold(kept)
    given_up = asyncio.create_task(caller.push(headers={"TTL": "1"}))
    waiting = asyncio.create_task(caller.push())
    assert (await given_up).outcome == "failed"
    apns.refuse(kept[0], 503, "ServiceUnavailable")
    apns.accept(kept[1])
    assert (await waiting).outcome == "sent"
    assert len(apple.connections) == 1


async def test_a_connection_that_hears_nothing_is_replaced_and_the_call_repeated(start: Start, apple: FakeApns) -> None:
    apple.behaviour = Behaviour(mute_pings=True)
    caller = await start()
    apple.answer = once(lambda _: None)
    apple.behaviour = Behaviour()
    assert (await caller.push()).outcome == "sent"
    assert len({push.id for push in apple.received}) == 1
    assert (await caller.counts())['push_retries_total{handler="voip",reason="ping_timeout"}'] == 1


async def test_1500_error_answers_on_one_connection_stall_nothing(start: Start, apple: FakeApns) -> None:
    caller = await start()
    apple.answer = lambda request: apns.refuse(request, 400, "BadDeviceToken")
    answers = []
    for _ in range(15):
        answers += await asyncio.gather(*(caller.push() for _ in range(100)))
    assert [answer.outcome for answer in answers] == ["rejected"] * 1500
    apple.answer = apns.accept
    assert (await caller.push()).outcome == "sent"
    assert len(apple.connections) == 1
    assert await caller.counts() == {
        "push_voip_sent_total": 1,
        "push_voip_failed_total": 1500,
        'push_calls_failed_total{handler="voip"}': 1500,
        'push_failures_total{handler="voip",reason="BadDeviceToken"}': 1500,
    }


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_name_that_cannot_be_resolved_stops_one_handler_until_it_can(
    start: Start,
    apple: FakeApns,
    monkeypatch: pytest.MonkeyPatch,
    hangs: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    real = socket.getaddrinfo
    fixed = threading.Event()

    def resolve(host: str, port: int, *rest: int, **more: int) -> list[Any]:
        if port == apple.port and not fixed.is_set():
            if hangs:
                fixed.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # which one name must not occupy
    caller = await start(ready=False, workings={"connect_timeout": 0.3})
    await until(lambda: caller.gateway.handlers["fcm"].ready)
    lost = await caller.push(headers={"TTL": "1"})
    assert lost.outcome == "expired"
    assert (await caller.counts())['push_failures_total{handler="voip",reason="dns"}'] == 1
    assert (await caller.push(ANDROID, "message")).outcome == "sent"
    call = asyncio.create_task(caller.push())
    fixed.set()
    assert (await call).outcome == "sent"


async def test_the_first_stream_limit_of_apns_is_kept(start: Start, apple: FakeApns) -> None:
    """Apple allows one stream until it has seen a valid token, then a thousand."""
    apple.behaviour = Behaviour(streams=1)
    caller = await start()
    kept: list[Request] = []
    apple.answer = withhold(kept)
    calls = [asyncio.create_task(caller.push()) for _ in range(10)]
    await until(lambda: len(kept) == 1)
    connection = apple.live[0]
    apple.behaviour.streams = 1000
    connection.limit(1000)
    await until(lambda: len(kept) == 10)
    for request in kept:
        apns.accept(request)
    assert {answer.outcome for answer in await asyncio.gather(*calls)} == {"sent"}


async def test_the_window_of_the_provider_is_kept(start: Start, google: FakeFcm) -> None:
    google.behaviour = Behaviour(window=65_535)
    caller = await start()
    pushes = [asyncio.create_task(caller.push("n" * 3000, "message")) for _ in range(30)]
    await until(lambda: google.behaviour.window is not None and google.behaviour.window < 3200)
    assert len(google.received) < 30
    assert google.behaviour.window is not None
    google.behaviour.window += 65_535
    google.live[0].grant(65_535)
    assert {answer.outcome for answer in await asyncio.gather(*pushes)} == {"sent"}


async def test_an_idle_connection_is_kept_alive(start: Start, apple: FakeApns) -> None:
    apple.behaviour = Behaviour(idle_timeout=0.8)
    caller = await start(workings={"timing": Timing(idle=0.2, awaiting=0.2, pong=0.3)})
    await until(lambda: apple.connections[0].pings >= 6)
    assert (await caller.push()).outcome == "sent"
    assert len(apple.connections) == 1


async def test_a_server_that_breaks_the_protocol_is_left(start: Start, apple: FakeApns) -> None:
    caller = await start()
    apple.answer = once(lambda request: request.connection.send(1, 4, request.stream_id, b"\xff\xff\xff"))
    assert (await caller.push()).outcome == "sent"
    assert len(apple.connections) == 2
    assert (await caller.counts())['push_retries_total{handler="voip",reason="protocol_error"}'] == 1
