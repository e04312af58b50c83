"""Which of a user's tokens a push goes to: after a late load, a reload, a withdrawal, and while an app is awake."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import aiohttp
import pytest

from lab.fakes.providers import UNREGISTERED
from lab.scraping import scrape
from lab.servers.gateway import SECRET
from lab.servers.prosody import DOMAIN
from lab.stack import Lab
from lab.users.accounts import PASSWORD, create_accounts, username
from tests.live.prosody import lua
from tests.live.push import ANDROID, IPHONE, SERVICE, Stack, asleep, fall_asleep
from xmpp.client import XmppClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Lab() as lab:
        yield Stack(lab, "smacks_max_ack_delay = 1\nsmacks_hibernation_time = 300\n")


@pytest.fixture
async def device(stack: Stack) -> AsyncIterator[Callable[[int, str], XmppClient]]:
    await create_accounts(stack.lab.prosody.admin_socket, DOMAIN, 30)
    stack.begin()
    async with aiohttp.ClientSession() as http:
        yield lambda number, name: XmppClient(
            stack.lab.prosody.endpoints(), username(number), PASSWORD, http=http, resource=name
        )


@pytest.fixture
async def caller(device: Callable[[int, str], XmppClient], request: pytest.FixtureRequest) -> AsyncIterator[XmppClient]:
    client = device(
        30, f"for-{abs(hash(request.node.name))}"
    )  # a full address and an id name a call, and ids begin again
    await client.login()
    yield client
    await client.disconnect()


def address(number: int) -> str:
    return f"{username(number)}@{DOMAIN}"


async def hibernating(stack: Stack, number: int) -> None:
    """Wait until Prosody has noticed that all of a user's connections are gone."""
    awake = (
        f"for _, s in pairs(prosody.hosts['{DOMAIN}'].sessions['{username(number)}'].sessions) do "
        "if not s.hibernating then return 'awake' end end return 'all asleep'"
    )
    async with asyncio.timeout(30):
        while "all asleep" not in await stack.lua(awake):  # noqa: ASYNC110 - another process announces nothing
            await asyncio.sleep(0.05)


async def module(stack: Stack, what: str, name: str) -> None:
    code = f"return require 'prosody.core.modulemanager'.{what}('{DOMAIN}', '{name}') and true"
    assert "true" in await stack.lua(code)


@pytest.mark.parametrize(("number", "reloaded"), [(1, "push_http"), (2, "cloud_notify")])
async def test_a_call_that_waits_for_the_gateway_survives_a_reload(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient, number: int, reloaded: str
) -> None:
    await asleep(device(number, "phone"))
    stack.gateway.kill()
    await caller.propose_call(address(number))
    await asyncio.sleep(1.5)  # mod_cloud_notify gathers for a second
    await module(stack, "reload", reloaded)
    stack.gateway.start()
    await stack.received("apns", 1)
    await stack.received("fcm", 1)
    await asyncio.sleep(1)
    assert stack.so_far() == {"apns": ["call"], "fcm": ["call"]}


async def test_a_call_that_mod_cloud_notify_has_yet_to_ask_for_survives_its_reload(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient
) -> None:
    await asleep(device(3, "phone"))
    await hibernating(stack, 3)
    prosody = stack.lab.prosody
    os.kill(prosody.pid, signal.SIGSTOP)  # so that the call and the reload come at once, on a slow machine too
    await caller.propose_call(address(3))
    reload = asyncio.create_task(module(stack, "reload", "cloud_notify"))
    await asyncio.sleep(0.1)
    os.kill(prosody.pid, signal.SIGCONT)
    await reload
    await stack.received("apns", 1)
    await asyncio.sleep(1.5)
    assert stack.so_far() == {"apns": ["call"], "fcm": ["call"]}
    assert "Error in timer" not in prosody.log.read_text()


async def test_an_iphone_that_registered_before_the_bridge_was_loaded_rings(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient
) -> None:
    await module(stack, "unload", "push_http")
    await asleep(device(4, "phone"))
    await module(stack, "load", "push_http")
    await caller.propose_call(address(4))
    await stack.received("apns", 1)
    # A bridge that was unloaded has forgotten what it sent: it asks again for the calls of the tests before.
    await asyncio.sleep(3)


@pytest.mark.parametrize("by", ["presence", "carbons"])
async def test_a_token_of_an_app_that_is_awake_is_not_pushed_to_until_that_app_falls_silent(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient, by: str
) -> None:
    """The app came back as a new session; the old one sleeps on, with the same tokens."""
    number = {"presence": 5, "carbons": 6}[by]
    await asleep(device(number, "old"))
    app = device(number, "new")
    await app.login(show="available" if by == "presence" else "unavailable")
    if by == "carbons":
        await app.enable_carbons()
    for token, kind in ((IPHONE, "voip"), (ANDROID, "")):
        await app.enable_push(SERVICE, token, secret=SECRET, push_type=kind)
    before = app.received["message"]
    await caller.propose_call(address(number))
    await app.wait_until(lambda: app.received["message"] > before, "the call")
    await asyncio.sleep(2.5)
    assert stack.so_far() == {"apns": [], "fcm": []}
    app.vanish()
    await caller.propose_call(address(number))
    await stack.received("apns", 1)
    await asyncio.sleep(2.5)
    assert stack.so_far() == {"apns": ["call"], "fcm": ["call"]}
    app.abort()


async def test_an_app_that_is_awake_and_is_no_addressee_is_pushed_to(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient
) -> None:
    """It has announced no presence and wants no carbons, so the call goes to the sleeping session alone."""
    await asleep(device(7, "old"))
    app = device(7, "new")
    await app.login(show="unavailable")
    for token, kind in ((IPHONE, "voip"), (ANDROID, "")):
        await app.enable_push(SERVICE, token, secret=SECRET, push_type=kind)
    await caller.propose_call(address(7))
    await stack.received("apns", 1)
    await app.disconnect()


async def test_an_app_that_starts_just_after_the_call_is_pushed_to(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient
) -> None:
    await asleep(device(8, "old"))
    await caller.propose_call(address(8))
    await caller.ping()
    app = device(8, "new")
    await app.login()
    for token, kind in ((IPHONE, "voip"), (ANDROID, "")):
        await app.enable_push(SERVICE, token, secret=SECRET, push_type=kind)
    await stack.received("apns", 1)
    await app.disconnect()


async def test_when_the_token_registered_last_is_withdrawn_the_other_one_rings(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient
) -> None:
    phone = device(9, "phone")
    await phone.login()
    for token, kind in ((IPHONE, "voip"), (ANDROID, "")):
        await phone.enable_push(SERVICE, token, secret=SECRET, push_type=kind)
    await phone.disable_push(SERVICE, ANDROID)
    phone.abort()
    await caller.propose_call(address(9))
    await stack.received("apns", 1)
    await asyncio.sleep(1)
    assert stack.so_far() == {"apns": ["call"], "fcm": []}


async def test_when_the_provider_gives_up_the_token_registered_last_the_other_one_rings(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient
) -> None:
    await asleep(device(10, "phone"), IPHONE, UNREGISTERED)
    await caller.message(address(10))
    async with asyncio.timeout(60):
        while UNREGISTERED in await stack.registrations(10):  # noqa: ASYNC110 - another process announces nothing
            await asyncio.sleep(0.05)
    await caller.propose_call(address(10))
    await stack.received("apns", 1)


async def test_a_token_that_the_user_withdraws_from_another_session_does_not_ring(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient
) -> None:
    await asleep(device(11, "old"))
    other = device(11, "new")
    await other.login(show="unavailable")
    for token in (IPHONE, ANDROID):
        await other.disable_push(SERVICE, token)
    await caller.propose_call(address(11))
    await asyncio.sleep(3)
    assert stack.so_far() == {"apns": [], "fcm": []}
    await other.disconnect()


async def test_no_more_tokens_of_a_phone_are_pushed_to_than_prosody_allows(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient
) -> None:
    phone = device(12, "phone")
    await phone.login()
    await fall_asleep(phone, *(f"{ANDROID}{number}" for number in range(8)))
    await caller.propose_call(address(12))
    await stack.received("fcm", 5)
    await asyncio.sleep(1.5)
    assert stack.so_far() == {"apns": [], "fcm": ["call"] * 5}


async def test_one_user_who_calls_and_writes_without_end_does_not_silence_others(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient
) -> None:
    flood = device(29, "flood")
    await flood.login()
    for number in (13, 14):
        await asleep(device(number, "phone"))
    for _ in range(40):
        await flood.propose_call(address(13))
    await flood.settle()
    await stack.received("apns", 5)
    await caller.propose_call(address(13))  # from somebody else
    await caller.propose_call(address(14))  # to somebody else
    await stack.received("apns", 7)
    await asyncio.sleep(1)
    assert len(stack.so_far()["apns"]) == 7
    log = stack.lab.prosody.log.read_text()
    assert log.count("one user calls, or is called, too often") == 1
    await flood.disconnect()


async def test_registrations_that_cannot_be_read_keep_their_number_and_are_read_again(
    stack: Stack, device: Callable[[int, str], XmppClient], caller: XmppClient
) -> None:
    async def scraped(name: str) -> float:
        return (await scrape(stack.lab.prosody_exporter.url))(name)

    async def until(name: str, condition: Callable[[float], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition(await scraped(name)):  # noqa: ASYNC110 - a page announces nothing
                await asyncio.sleep(0.1)

    before = await scraped("prosody_push_registrations")
    await asleep(device(15, "phone"))
    await until("prosody_push_registrations", lambda n: n == before + 2)
    errors = await scraped("prosody_exporter_instrument_errors_total")
    file = stack.lab.prosody.directory / "commeazy%2ecom" / "cloud_notify" / f"{username(15)}.dat"
    good = file.read_text()
    file.write_text("return {")  # what cannot be read is not "none"
    await caller.message(address(15))
    await until("prosody_exporter_instrument_errors_total", lambda n: n > errors)
    assert await scraped("prosody_push_registrations") == before + 2
    file.write_text(good)
    await stack.lua(  # as another node that shares the storage would
        f"local s = require 'prosody.core.storagemanager'.open('{DOMAIN}', 'cloud_notify'); "
        f"local r = s:get('{username(15)}'); r[next(r)] = nil; return s:set('{username(15)}', r)"
    )
    await until("prosody_push_registrations", lambda n: n == before + 1)


CALLS = 20
# Calls for that many users; and each time for which the bridge sets a timer is noted.
_CALLS = f"""
local st, timer = require "prosody.util.stanza", require "prosody.util.timer";
local add_task, waits = timer.add_task, {{}};
prosody.hosts["{DOMAIN}"].waits_of_bridge = waits;
function timer.add_task(wait, ...)
    if debug.getinfo(2, "S").source:find("mod_push_http", 1, true) then waits[#waits + 1] = ("%.6f"):format(wait); end
    return add_task(wait, ...);
end
for i = 1, {CALLS} do
    prosody.hosts["{DOMAIN}"].events.fire_event("cloud_notify/push", {{
        username = "callee"..i;
        push_info = {{ jid = "{SERVICE}"; node = "phone"..i; resource = "x"; timestamp = 1 }};
        original_stanza = st.message({{ from = "caller"..i.."@example.org/x"; to = "callee"..i.."@{DOMAIN}" }})
            :tag("propose", {{ xmlns = "urn:xmpp:jingle-message:0"; id = "x" }}):up();
        important = true;
    }});
end
return "done";
"""
_WAITS = f'return table.concat(prosody.hosts["{DOMAIN}"].waits_of_bridge, " ")'


async def test_calls_that_the_gateway_refused_together_do_not_come_back_together(stack: Stack) -> None:
    stack.gateway.kill()
    assert "done" in await lua(stack.lab, _CALLS)
    first: list[float] = []
    async with asyncio.timeout(60):
        while len(first) < CALLS:
            waits = [float(wait) for wait in (await lua(stack.lab, _WAITS)).split()]
            first = [wait for wait in waits if wait <= 0.3][:CALLS]  # longer ones are for later tries
            await asyncio.sleep(0.05)
    assert min(first) >= 0.1
    assert max(first) - min(first) > 0.05
    stack.gateway.start()
