"""What reaches APNs and FCM, and what the metrics say, when a provider works, is in trouble, or refuses."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest

from gateway import handler
from lab.fakes import apns, fcm
from lab.fakes.http2 import Behaviour
from tests.gateway.conftest import ANDROID, IPHONE, Start, once, until, withhold

if TYPE_CHECKING:
    from lab.fakes.apns import FakeApns
    from lab.fakes.fcm import FakeFcm
    from lab.fakes.http2 import Request


async def test_a_call_arrives_with_nothing_personal_in_it(start: Start, apple: FakeApns) -> None:
    caller = await start()
    before = time.time()
    answer = await caller.push()
    assert (answer.status, answer.text, answer.outcome) == (200, "OK", "sent")
    (push,) = apple.received
    assert push.node == IPHONE
    assert push.payload == {"aps": {}, "type": "incoming-call", "expires": int(push.expiration)}
    assert before + 28 < push.expiration <= time.time() + 30
    assert "bert" not in json.dumps(push.headers)
    assert await caller.counts() == {"push_voip_sent_total": 1}


async def test_a_message_arrives_through_fcm(start: Start, google: FakeFcm) -> None:
    caller = await start()
    assert (await caller.push(ANDROID, "message")).outcome == "sent"
    (push,) = google.received
    assert push.message == {
        "token": ANDROID,
        "data": {"type": "new-message"},
        "android": {"priority": "high", "ttl": "60s"},
    }
    assert await caller.counts() == {"push_fcm_sent_total": 1}


async def test_a_call_to_android_goes_through_fcm_for_30_seconds(
    start: Start, apple: FakeApns, google: FakeFcm
) -> None:
    caller = await start()
    assert (await caller.push(ANDROID, "call")).outcome == "sent"
    (push,) = google.received
    assert (push.data["type"], push.priority, push.ttl) == ("incoming-call", "high", 30)
    assert abs(float(push.data["expires"]) - time.time() - 30) < 2
    assert not apple.received


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_apns_in_trouble_is_asked_again_with_the_same_id(start: Start, apple: FakeApns, status: int) -> None:
    reason = {429: "TooManyRequests", 500: "InternalServerError", 503: "ServiceUnavailable"}[status]
    caller = await start()
    apple.answer = once(lambda request: apns.refuse(request, status, reason))
    assert (await caller.push()).outcome == "sent"
    assert len(apple.received) == 2
    assert len({push.id for push in apple.received}) == 1
    assert await caller.counts() == {
        "push_voip_sent_total": 1,
        f'push_retries_total{{handler="voip",reason="{reason}"}}': 1,
    }


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_retry_after_beyond_the_deadline_ends_the_push_at_once(
    start: Start, google: FakeFcm, status: int
) -> None:
    code = {429: "QUOTA_EXCEEDED", 500: "INTERNAL", 503: "UNAVAILABLE"}[status]
    caller = await start()
    google.answer = lambda request: fcm.refuse(request, status, code, {"retry-after": "3600"})
    answer = await caller.push(ANDROID, "message")
    assert answer.outcome == "expired"
    assert len(google.received) == 1
    assert await caller.counts() == {
        "push_fcm_failed_total": 1,
        'push_expired_total{handler="fcm"}': 1,
        f'push_failures_total{{handler="fcm",reason="{code}"}}': 1,
    }


async def test_a_short_retry_after_is_obeyed(start: Start, google: FakeFcm) -> None:
    caller = await start()
    times: list[float] = []

    def answer(request: Request) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            fcm.refuse(request, 503, "UNAVAILABLE", {"retry-after": "1"})
        else:
            fcm.accept(request)

    google.answer = answer
    assert (await caller.push(ANDROID, "message")).outcome == "sent"
    assert times[1] - times[0] >= 1.0
    assert google.received[1].ttl < 60


async def test_tries_stop_at_the_deadline(start: Start, apple: FakeApns) -> None:
    caller = await start()
    apple.answer = lambda request: apns.refuse(request, 503, "ServiceUnavailable")
    answer = await caller.push(headers={"TTL": "1"})
    assert answer.outcome == "expired"
    assert len(apple.received) >= 2
    assert len({push.id for push in apple.received}) == 1


async def test_410_is_final_and_counted_apart(start: Start, apple: FakeApns) -> None:
    caller = await start()
    apple.answer = lambda request: apns.refuse(request, 410, "Unregistered", timestamp=1_700_000_000_123)
    answer = await caller.push()
    assert answer.outcome == "unregistered"
    assert answer.headers["Push-Unregistered-Since"] == "1700000000"
    assert len(apple.received) == 1
    assert await caller.counts() == {'push_unregistered_total{handler="voip",reason="Unregistered"}': 1}


async def test_unregistered_at_fcm_is_final_and_counted_apart(start: Start, google: FakeFcm) -> None:
    caller = await start()
    google.answer = lambda request: fcm.refuse(request, 404, "UNREGISTERED")
    assert (await caller.push(ANDROID, "message")).outcome == "unregistered"
    assert await caller.counts() == {'push_unregistered_total{handler="fcm",reason="UNREGISTERED"}': 1}


async def test_failed_calls_to_android_are_told_apart_from_messages(start: Start, google: FakeFcm) -> None:
    caller = await start()
    page = (await caller.get("/metrics"))[1]
    assert all(f'push_calls_failed_total{{handler="{handler}"}} 0.0' in page for handler in ("voip", "fcm"))
    google.answer = lambda request: fcm.refuse(request, 403, "PERMISSION_DENIED")
    for kind in ("call", "message", "call"):
        assert (await caller.push(ANDROID, kind)).outcome == "rejected"
    google.answer = lambda request: fcm.refuse(request, 404, "UNREGISTERED")
    assert (await caller.push(ANDROID, "call")).outcome == "unregistered"
    google.answer = fcm.accept
    assert (await caller.push(ANDROID, "call")).outcome == "sent"
    assert await caller.counts() == {
        "push_fcm_sent_total": 1,
        "push_fcm_failed_total": 3,
        'push_failures_total{handler="fcm",reason="PERMISSION_DENIED"}': 3,
        'push_unregistered_total{handler="fcm",reason="UNREGISTERED"}': 1,
        'push_calls_failed_total{handler="fcm"}': 2,
    }


async def test_calls_flow_while_fcm_is_slow(start: Start, google: FakeFcm) -> None:
    caller = await start()
    kept: list[Request] = []
    google.answer = withhold(kept)
    messages = [asyncio.create_task(caller.push(ANDROID, "message")) for _ in range(300)]
    await until(lambda: len(kept) == 300)
    calls = await asyncio.gather(*(caller.push() for _ in range(100)))
    assert {call.outcome for call in calls} == {"sent"}
    assert not any(message.done() for message in messages)
    for request in kept:
        fcm.accept(request)
    assert {message.outcome for message in await asyncio.gather(*messages)} == {"sent"}


async def test_a_stalled_fcm_takes_no_more_than_its_queue(
    start: Start, google: FakeFcm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "QUEUE_MESSAGES", 80)
    google.behaviour = Behaviour(streams=50)
    caller = await start()
    kept: list[Request] = []
    google.answer = withhold(kept)
    messages = [asyncio.create_task(caller.push(ANDROID, "message")) for _ in range(90)]
    await until(lambda: sum(message.done() for message in messages) == 10)
    assert {message.result().outcome for message in messages if message.done()} == {"unavailable"}
    assert (await caller.push()).outcome == "sent"
    call = asyncio.create_task(caller.push(ANDROID, "call"))
    await until(lambda: caller.inflight("fcm") == 81 and len(kept) == 50)
    fcm.accept(kept[0])
    await until(lambda: len(kept) == 51)
    assert json.loads(kept[50].body)["message"]["data"]["type"] == "incoming-call"  # overtakes 30 messages
    google.answer = fcm.accept
    for request in kept[1:]:
        fcm.accept(request)
    assert (await call).outcome == "sent"
    await asyncio.gather(*messages)
    assert (await caller.counts())['push_failures_total{handler="fcm",reason="queue_full"}'] == 10


async def test_a_provider_that_fails_shows_in_its_state_until_it_answers_again(start: Start, apple: FakeApns) -> None:
    caller = await start(HANDLERS="voip")
    apple.answer = lambda request: apns.refuse(request, 503, "ServiceUnavailable")
    await asyncio.gather(*(caller.push(headers={"TTL": "1"}) for _ in range(5)))
    assert (await caller.health())["apns"] == "unavailable"
    assert 'push_provider_state{handler="voip"}' not in await caller.samples()
    assert (await caller.get("/-/ready"))[0] == 200  # a push would be tried
    apple.answer = apns.accept
    assert (await caller.push()).outcome == "sent"
    assert (await caller.samples())['push_provider_state{handler="voip"}'] == 1


async def test_nothing_is_lost_when_a_provider_in_trouble_is_back(start: Start, apple: FakeApns) -> None:
    caller = await start()
    apple.answer = lambda request: apns.refuse(request, 503, "ServiceUnavailable")
    calls = [asyncio.create_task(caller.push(f"{number:064x}")) for number in range(20)]
    await until(lambda: not caller.gateway.handlers["voip"].works)
    apple.answer = apns.accept
    assert {answer.outcome for answer in await asyncio.gather(*calls)} == {"sent"}
    assert len({push.id for push in apple.received}) == 20


async def test_no_call_waits_for_what_becomes_of_others(start: Start, google: FakeFcm) -> None:
    """FCM answers messages to one app with errors and takes calls: the calls are sent at once."""
    caller = await start()

    def answer(request: Request) -> None:
        if b"new-message" in request.body:
            fcm.refuse(request, 503, "UNAVAILABLE")
        else:
            fcm.accept(request)

    google.answer = answer
    messages = [asyncio.create_task(caller.push(ANDROID, "message", headers={"TTL": "3"})) for _ in range(20)]
    await until(lambda: len(google.received) >= 40)
    for _ in range(20):
        sent_before = len(google.received)
        assert (await caller.push(ANDROID, "call")).outcome == "sent"
        own = [push for push in google.received[sent_before:] if push.data["type"] == "incoming-call"]
        assert len(own) == 1
    assert {message.outcome for message in await asyncio.gather(*messages)} == {"expired"}


DOUBTFUL = [
    ("BadDeviceToken", "call"),
    ("DeviceTokenNotForTopic", "call"),
    ("INVALID_TOKEN", "message"),
    ("SENDER_ID_MISMATCH", "message"),
]


def doubt(word: str, request: Request) -> None:
    """Refuse a push with an answer that speaks of a dead token or of wrong settings."""
    if word in ("BadDeviceToken", "DeviceTokenNotForTopic"):
        apns.refuse(request, 400, word)
    else:
        fcm.refuse(request, *{"INVALID_TOKEN": (400, "INVALID_ARGUMENT")}.get(word, (403, word)))


@pytest.mark.parametrize(("word", "kind"), DOUBTFUL)
async def test_wrong_settings_are_distinguished_from_dead_tokens(
    start: Start, apple: FakeApns, google: FakeFcm, word: str, kind: str
) -> None:
    """While no other token is accepted, the settings may be wrong (APNS_ENVIRONMENT): registrations are kept."""
    caller = await start()
    node, handler = (IPHONE, "voip") if kind == "call" else (ANDROID, "fcm")
    apple.answer = google.answer = lambda request: doubt(word, request)
    assert (await caller.push(node, kind)).outcome == "rejected"
    apple.answer, google.answer = apns.accept, fcm.accept
    assert (await caller.push(node, kind)).outcome == "sent"
    apple.answer = google.answer = lambda request: doubt(word, request)
    assert [(await caller.push(node, kind)).outcome for _ in range(3)] == ["unregistered", "unregistered", "rejected"]
    caller.gateway.handlers[handler].reload()  # another key or account may be another project's
    assert (await caller.push(node, kind)).outcome == "rejected"
    assert await caller.counts() == {
        f"push_{handler}_sent_total": 1,
        f"push_{handler}_failed_total": 3,
        f'push_failures_total{{handler="{handler}",reason="{word}"}}': 3,
        f'push_unregistered_total{{handler="{handler}",reason="{word}"}}': 2,
        **({'push_calls_failed_total{handler="voip"}': 3} if kind == "call" else {}),
    }


async def test_a_quota_without_retry_after_is_not_used_up_further(start: Start, google: FakeFcm) -> None:
    """Google asks for a minute before the next try, which a message does not have."""
    caller = await start()
    google.answer = lambda request: fcm.refuse(request, 429, "QUOTA_EXCEEDED")
    assert (await caller.push(ANDROID, "message")).outcome == "expired"
    assert len(google.received) == 1
    call = asyncio.create_task(caller.push(ANDROID, "call"))
    await until(lambda: len(google.received) == 2)
    google.answer = fcm.accept
    assert (await call).outcome == "sent"
