"""From one user's phone to another's: a real Prosody, the bridge, the gateway, and the fakes of Apple and Google."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from lab.fakes.providers import UNREGISTERED
from lab.running import clocks
from lab.running.clocks import Clocks
from lab.servers.gateway import SECRET
from lab.servers.prosody import DOMAIN
from lab.stack import Lab
from lab.users.accounts import PASSWORD, create_accounts, username
from tests.live.push import ANDROID, IPHONE, SERVICE, Stack, registered
from xmpp.client import XmppClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Lab() as lab:
        yield Stack(lab)


@pytest.fixture
async def phone(stack: Stack) -> AsyncIterator[Callable[[int], XmppClient]]:
    await create_accounts(stack.lab.prosody.admin_socket, DOMAIN, 16)
    stack.begin()
    async with aiohttp.ClientSession() as http:
        yield lambda number: XmppClient(stack.lab.prosody.endpoints(), username(number), PASSWORD, http=http)


async def test_a_message_and_a_call_reach_a_phone_that_is_offline(
    stack: Stack, phone: Callable[[int], XmppClient]
) -> None:
    await registered(phone(1))
    sender = phone(2)
    await sender.login()
    to = f"{username(1)}@{DOMAIN}"

    await sender.message(to, "A secret greeting")
    (message,) = await stack.received("fcm", 1)
    assert message["node"] == ANDROID
    assert message["message"] == {
        "token": ANDROID,
        "data": {"type": "new-message"},
        "android": {"priority": "high", "ttl": "60s"},
    }

    await sender.propose_call(to)
    (call,) = await stack.received("apns", 1)
    assert call["node"] == IPHONE
    assert call["payload"] == {"aps": {}, "type": "incoming-call", "expires": int(call["expiration"])}
    _, android_call = await stack.received("fcm", 2)
    assert android_call["data"] == {"type": "incoming-call", "expires": str(call["payload"]["expires"])}
    assert android_call["ttl"] in (29, 30)

    await sender.disconnect()
    told = json.dumps([stack.providers.received("apns"), stack.providers.received("fcm")])
    for private in ("greeting", username(1), username(2), DOMAIN, SECRET):
        assert private not in told.replace("com.commeazy.app", "")
    log = stack.gateway.log.read_text()
    for private in ("greeting", username(1), username(2), SECRET, IPHONE, ANDROID):
        assert private not in log
    assert f"token={IPHONE[-6:]}" in log


async def test_a_phone_that_sleeps_is_woken_once_for_a_queue_of_messages(
    stack: Stack, phone: Callable[[int], XmppClient]
) -> None:
    sleeper, sender = phone(3), phone(4)
    await sender.login()
    await sleeper.login()
    await sleeper.enable_push(SERVICE, ANDROID, secret=SECRET)
    sleeper.vanish()
    to = f"{username(3)}@{DOMAIN}"
    for _ in range(20):
        await sender.message(to)
    await sender.propose_call(to)
    await sender.settle()
    sleeper.abort()  # now its queue of 21 is looked through at once
    received = await stack.received("fcm", 2)
    assert sorted(push["data"]["type"] for push in received) == ["incoming-call", "new-message"]
    await sender.disconnect()


async def test_an_iphone_that_sleeps_rings_whichever_token_it_registered_last(
    stack: Stack, phone: Callable[[int], XmppClient]
) -> None:
    """mod_cloud_notify knows one registration of a session that sleeps, the last; an iPhone has two."""
    for number, tokens in ((9, ("voip", "")), (10, ("", "voip"))):
        stack.begin()
        sleeper, sender = phone(number), phone(11)
        await sleeper.login()
        for kind in tokens:
            await sleeper.enable_push(SERVICE, IPHONE if kind else ANDROID, secret=SECRET, push_type=kind)
        sleeper.abort()
        await sender.login()
        await sender.message(f"{username(number)}@{DOMAIN}")
        await stack.received("fcm", 1)
        await sender.propose_call(f"{username(number)}@{DOMAIN}")
        (call,) = await stack.received("apns", 1)
        assert call["node"] == IPHONE
        await sender.disconnect()


async def test_a_phone_that_was_woken_and_does_not_come_is_offline(
    stack: Stack, phone: Callable[[int], XmppClient]
) -> None:
    """Until it has been woken, mod_cloud_notify lets it sleep for 72 hours; then for Prosody's own hibernation time."""
    sleeper, sender = phone(16), phone(11)
    await sleeper.login()
    await sleeper.enable_push(SERVICE, ANDROID, secret=SECRET)
    sleeper.abort()
    await sender.login()
    await asyncio.sleep(5)
    assert await stack.sessions(16) == "OK: sessions: 1"
    await sender.message(f"{username(16)}@{DOMAIN}")
    async with asyncio.timeout(60):
        while await stack.sessions(16) != "OK: sessions: 0":  # noqa: ASYNC110 - another process announces nothing
            await asyncio.sleep(0.1)
    await sender.disconnect()


async def test_a_token_that_was_withdrawn_does_not_ring(stack: Stack, phone: Callable[[int], XmppClient]) -> None:
    sleeper, sender = phone(15), phone(11)
    await sleeper.login()
    await sleeper.enable_push(SERVICE, IPHONE, secret=SECRET, push_type="voip")
    await sleeper.enable_push(SERVICE, ANDROID, secret=SECRET)
    await sleeper.disable_push(SERVICE, IPHONE)
    sleeper.abort()
    await sender.login()
    await sender.propose_call(f"{username(15)}@{DOMAIN}")
    await stack.received("fcm", 1)
    await asyncio.sleep(1)
    assert await stack.received("apns", 0) == []
    await sender.disconnect()


async def test_a_call_rings_once_however_often_prosody_looks_at_it(
    stack: Stack, phone: Callable[[int], XmppClient]
) -> None:
    """When its acknowledgement is late, and again when its session goes to sleep."""
    sleeper, sender = phone(12), phone(13)
    await sleeper.login()
    await sleeper.enable_push(SERVICE, IPHONE, secret=SECRET, push_type="voip")
    sleeper.vanish()
    await sender.login()
    await sender.propose_call(f"{username(12)}@{DOMAIN}")
    await stack.received("apns", 1)
    sleeper.abort()
    await sender.propose_call(f"{username(12)}@{DOMAIN}")  # another call, which comes after the sleep has begun
    await stack.received("apns", 2)
    await asyncio.sleep(2)
    assert len(await stack.received("apns", 2)) == 2
    await sender.disconnect()


async def test_a_call_that_ended_before_prosody_noticed_the_sleep_does_not_ring(
    stack: Stack, phone: Callable[[int], XmppClient]
) -> None:
    await registered(phone(14))
    sender = phone(13)
    await sender.login()
    await sender.propose_call(f"{username(14)}@{DOMAIN}", seconds_ago=31)
    await sender.propose_call(f"{username(14)}@{DOMAIN}", seconds_ago=10)
    (call,) = await stack.received("apns", 1)
    assert call["expiration"] - time.time() < 21
    await asyncio.sleep(1)
    assert len(await stack.received("apns", 1)) == 1
    await sender.disconnect()


async def test_a_token_that_its_provider_has_given_up_is_forgotten(
    stack: Stack, phone: Callable[[int], XmppClient]
) -> None:
    phone_of_1, sender = await registered(phone(5)), phone(6)
    await phone_of_1.login()
    await phone_of_1.enable_push(SERVICE, UNREGISTERED, secret=SECRET)
    await phone_of_1.disconnect()
    await sender.login()
    assert UNREGISTERED in await stack.registrations(5)
    await sender.message(f"{username(5)}@{DOMAIN}")
    async with asyncio.timeout(60):
        while UNREGISTERED in await stack.registrations(5):  # noqa: ASYNC110 - another process announces nothing
            await asyncio.sleep(0.05)
    left = await stack.registrations(5)
    assert IPHONE in left
    assert ANDROID in left
    await sender.disconnect()


async def test_a_call_survives_a_restart_of_the_gateway(stack: Stack, phone: Callable[[int], XmppClient]) -> None:
    await registered(phone(7))
    sender = phone(8)
    await sender.login()
    stack.gateway.kill()
    await sender.propose_call(f"{username(7)}@{DOMAIN}")
    await sender.ping()
    stack.gateway.start()
    (call,) = await stack.received("apns", 1)
    assert call["node"] == IPHONE
    await sender.disconnect()


@pytest.mark.skipif(clocks.lacking() is not None, reason=str(clocks.lacking()))
async def test_a_call_survives_a_step_of_the_clock_while_the_gateway_is_away() -> None:
    with Lab() as lab:
        clock = Clocks(lab.directory)
        clock.give(lab.prosody)
        stack = Stack(lab)
        await create_accounts(lab.prosody.admin_socket, DOMAIN, 2)
        async with aiohttp.ClientSession() as http:
            callee, sender = (
                XmppClient(lab.prosody.endpoints(), username(number), PASSWORD, http=http) for number in (1, 2)
            )
            await registered(callee)
            await sender.login()
            stack.gateway.kill()
            await sender.propose_call(f"{username(1)}@{DOMAIN}")
            await sender.ping()
            clock.set(lab.prosody, 3 * 3600)
            stack.gateway.start()
            (call,) = await stack.received("apns", 1)
            assert call["node"] == IPHONE
            await sender.disconnect()
