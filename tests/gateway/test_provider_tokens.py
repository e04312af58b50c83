"""The gateway's access tokens: when they are replaced, and what happens while there is no new one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from lab.fakes import apns, fcm
from tests.gateway.conftest import ANDROID, Clock, Minting, Pki, Start, once, until

if TYPE_CHECKING:
    from lab.fakes.apns import FakeApns
    from lab.fakes.fcm import FakeFcm
    from lab.fakes.http2 import Request


async def test_an_expired_token_is_replaced_and_the_call_repeated(start: Start, apple: FakeApns) -> None:
    caller = await start()
    await caller.push()
    caller.clock.ahead = 25 * 60
    apple.answer = once(lambda request: apns.refuse(request, 403, "ExpiredProviderToken"))
    assert (await caller.push()).outcome == "sent"
    assert len(apple.tokens()) == 2
    assert (await caller.counts())['push_retries_total{handler="voip",reason="ExpiredProviderToken"}'] == 1


async def test_a_young_token_is_not_replaced_whatever_apns_says(start: Start, apple: FakeApns) -> None:
    """Apple allows one token in 20 minutes."""
    caller = await start()
    apple.answer = lambda request: apns.refuse(request, 403, "ExpiredProviderToken")
    answers = await asyncio.gather(*(caller.push() for _ in range(3)))
    assert {answer.outcome for answer in answers} == {"rejected"}
    assert len(apple.tokens()) == 1


async def test_fcm_gets_a_new_token_after_401(start: Start, google: FakeFcm) -> None:
    caller = await start()
    caller.clock.ahead = 120
    google.answer = once(lambda request: fcm.refuse(request, 401, "UNAUTHENTICATED"), fcm.accept)
    assert (await caller.push(ANDROID, "message")).outcome == "sent"
    first, second = google.received
    assert first.headers["authorization"] != second.headers["authorization"]


async def test_a_token_endpoint_that_is_down_stops_only_fcm(start: Start, pki: Pki) -> None:
    minting = Minting(pki.key_path, Clock(), failing=(None, False, "the token endpoint does not answer"))
    caller = await start(ready=False, workings={"mint": minting})
    await until(lambda: caller.gateway.handlers["voip"].ready)
    message = asyncio.create_task(caller.push(ANDROID, "message"))
    assert (await caller.push()).outcome == "sent"
    assert (await caller.health())["fcm"] == "unavailable"
    assert (await caller.get("/-/ready"))[0] == 200
    assert not message.done()  # it is worth 60 seconds
    minting.failing = None
    assert (await message).outcome == "sent"
    assert (await caller.samples())['push_token_renewals_total{handler="fcm",result="failed"}'] >= 1


async def test_a_token_that_is_valid_outlives_the_token_endpoint(start: Start, pki: Pki) -> None:
    clock = Clock()
    minting = Minting(pki.key_path, clock)
    caller = await start(workings={"mint": minting, "clock": clock})
    minting.failing = (None, False, "the token endpoint does not answer")
    clock.ahead = 50 * 60
    caller.gateway.handlers["fcm"].reload()
    await until(lambda: minting.attempts >= 3)
    assert (await caller.push(ANDROID, "message")).outcome == "sent"


async def test_a_token_update_too_many_costs_a_connection_and_no_call(start: Start, apple: FakeApns) -> None:
    """APNs refuses everything on that connection from then on (pushy 931)."""
    caller = await start()
    cursed = apple.live[0]

    def answer(request: Request) -> None:
        if request.connection is cursed:
            apns.refuse(request, 429, "TooManyProviderTokenUpdates")
        else:
            apns.accept(request)

    apple.answer = answer
    answers = await asyncio.gather(*(caller.push(f"{number:064x}") for number in range(8)))
    assert {answer.outcome for answer in answers} == {"sent"}
    assert len(apple.connections) == 2


@pytest.mark.parametrize("body", [b"", b"<html>"])
async def test_a_401_without_a_reason_gets_a_new_token(start: Start, google: FakeFcm, body: bytes) -> None:
    caller = await start()
    caller.clock.ahead = 120
    google.answer = once(lambda request: request.respond(401, body), fcm.accept)
    assert (await caller.push(ANDROID, "message")).outcome == "sent"
    first, second = google.received
    assert first.headers["authorization"] != second.headers["authorization"]


async def test_credentials_for_ios_that_fcm_lacks_concern_no_other_push(start: Start, google: FakeFcm) -> None:
    caller = await start()
    google.answer = lambda request: fcm.refuse(request, 401, "THIRD_PARTY_AUTH_ERROR")
    caller.clock.ahead = 120
    answers = await asyncio.gather(*(caller.push(ANDROID, "message") for _ in range(10)))
    assert {answer.outcome for answer in answers} == {"rejected"}
    assert len({push.headers["authorization"] for push in google.received}) == 1
    assert (await caller.samples())['push_provider_state{handler="fcm"}'] == 1
    google.answer = fcm.accept
    assert (await caller.push(ANDROID, "call")).outcome == "sent"


async def test_a_token_that_is_refused_once_serves_others_until_there_is_a_new_one(
    start: Start, google: FakeFcm, pki: Pki
) -> None:
    clock = Clock()
    minting = Minting(pki.key_path, clock)
    caller = await start(workings={"mint": minting, "clock": clock})
    clock.ahead = 120
    minting.failing = (None, False, "the token endpoint does not answer")
    google.answer = once(lambda request: fcm.refuse(request, 401, "UNAUTHENTICATED"), fcm.accept)
    refused = asyncio.create_task(caller.push(ANDROID, "message", headers={"TTL": "2"}))
    await until(lambda: len(google.received) == 1)
    assert (await caller.push(ANDROID, "call")).outcome == "sent"
    assert (await refused).outcome == "expired"
