"""Which stanzas wake a phone, by themselves and in carbons; what Apple and Google got agrees with what was counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from lab.servers.prosody import DOMAIN
from lab.stack import Lab
from lab.users.accounts import PASSWORD, create_accounts, username
from tests.live.push import ANDROID, Stack, asleep, fall_asleep, registered
from xmpp.client import XmppClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

PROPOSE = "<propose xmlns='urn:xmpp:jingle-message:0' id='{}'/>"
FORGED = (
    "<{0} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
    "<message xmlns='jabber:client' from='user2@commeazy.com/x' to='user1@commeazy.com' type='chat'>"
    "<body>Not from here</body>" + PROPOSE.format("forged") + "</message></forwarded></{0}>"
)
JINGLE = "<{} xmlns='urn:xmpp:jingle-message:0' id='call'/>"
# What no phone is to be woken for: content, and type.
IDLE = {
    "typing (XEP-0085)": ("<composing xmlns='http://jabber.org/protocol/chatstates'/>", "chat"),
    "receipt (XEP-0184)": ("<received xmlns='urn:xmpp:receipts' id='m1'/>", "chat"),
    "read marker (XEP-0333)": ("<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>", "chat"),
    **{
        f"{word} (XEP-0353)": (JINGLE.format(word), "chat")
        for word in ("retract", "ringing", "finish", "reject", "accept")
    },
    "headline": ("<body>News</body>", "headline"),
    "headline with a call": (PROPOSE.format("headline"), "headline"),
    "bounce of a message": ("<body>Hello</body><error type='cancel'/>", "error"),
    "bounce of a call": (PROPOSE.format("bounced") + "<error type='cancel'/>", "error"),
    "forged carbon, received": (FORGED.format("received"), "chat"),
    "forged carbon, sent": (FORGED.format("sent"), "chat"),
    "empty body": ("<body/>", "chat"),
}
# What is news although Prosody can't see any body.
ENCRYPTED = "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>AAAA</payload></encrypted>"
FILTER = """
module:hook("cloud_notify/push", function (event) -- where mod_cloud_notify_filters has it
    if event.push_info.node == module:get_option_string("stopped_token") then return true; end
end);
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    plugins: Path = tmp_path_factory.mktemp("plugins")
    (plugins / "mod_a_filter.lua").write_text(FILTER)
    with Lab() as lab:
        # A session that expired would have Prosody ask again for what it had not acknowledged.
        yield Stack(
            lab, "smacks_max_ack_delay = 1\nsmacks_hibernation_time = 300\n", modules='"a_filter"', plugins=plugins
        )


@pytest.fixture
async def device(stack: Stack) -> AsyncIterator[Callable[[int, str], XmppClient]]:
    await create_accounts(stack.lab.prosody.admin_socket, DOMAIN, 20)
    stack.begin()
    await stack.counted()
    async with aiohttp.ClientSession() as http:
        yield lambda number, name: XmppClient(
            stack.lab.prosody.endpoints(), username(number), PASSWORD, http=http, resource=name
        )


def address(number: int, resource: str = "") -> str:
    return f"{username(number)}@{DOMAIN}{'/' if resource else ''}{resource}"


async def quiet(stack: Stack) -> None:
    """Wait for as long as mod_cloud_notify waits for more, and the acknowledgement that it waits for."""
    await asyncio.sleep(2.5)
    assert stack.so_far()


@pytest.mark.parametrize("phone_is", ["below the tablet", "at -1", "without presence", "level with the tablet"])
async def test_a_call_rings_a_sleeping_phone_once_whichever_way_it_comes(
    stack: Stack, device: Callable[[int, str], XmppClient], phone_is: str
) -> None:
    """The tablet is awake. Where the phone is no addressee, the call reaches its session inside a carbon."""
    phone, tablet = device(1, "phone"), device(1, "tablet")
    caller = device(2, phone_is.replace(" ", "-"))  # a full address and an id name a call, and ids begin again
    await tablet.login(show="unavailable")
    await tablet.enable_carbons()
    await tablet.presence(priority=5)
    await phone.login(show="unavailable")
    if phone_is != "without presence":
        await phone.presence(priority={"at -1": -1, "level with the tablet": 5}.get(phone_is, 0))
    await fall_asleep(phone, carbons=True)
    await caller.login()
    await caller.propose_call(address(1))
    await stack.received("apns", 1)
    await quiet(stack)
    assert stack.so_far() == {"apns": ["call"], "fcm": ["call"]}
    assert await stack.counted() == {"call": 2}  # two registrations
    for client in (tablet, caller):
        await client.disconnect()


async def test_a_call_to_the_tablet_alone_and_one_to_oneself_ring_the_phone_and_a_call_of_ones_own_does_not(
    stack: Stack, device: Callable[[int, str], XmppClient]
) -> None:
    tablet, caller = device(3, "tablet"), device(4, "phone")
    await tablet.login(show="unavailable")
    await tablet.enable_carbons()
    await tablet.presence(priority=5)
    await asleep(device(3, "phone"), carbons=True)
    await caller.login()
    await tablet.propose_call(address(4))  # a sent carbon
    await tablet.message(address(4))
    for word in ("accept", "proceed", "reject"):  # the tablet tells the user's other devices
        await tablet.send_message(address(3), JINGLE.format(word))
    await tablet.settle()
    await quiet(stack)
    assert stack.so_far() == {"apns": [], "fcm": []}
    await caller.propose_call(address(3, "tablet"))  # a received carbon
    await tablet.propose_call(address(3))  # a sent carbon, and a received one
    await stack.received("apns", 2)
    await quiet(stack)
    assert stack.so_far() == {"apns": ["call"] * 2, "fcm": ["call"] * 2}
    # Before 13.0.6 Prosody makes two carbons of a call to oneself, and each is asked for.
    assert (await stack.counted())["call"] in (4, 6)
    for client in (tablet, caller):
        await client.disconnect()


@pytest.mark.parametrize("state", ["sleeps", "is offline"])
async def test_what_is_no_news_wakes_no_phone(
    stack: Stack, device: Callable[[int, str], XmppClient], state: str
) -> None:
    number = {"sleeps": 5, "is offline": 6}[state]
    sender = device(7, "phone")
    await (asleep if state == "sleeps" else registered)(device(number, "phone"))
    await sender.login()
    for content, kind in IDLE.values():
        await sender.send_message(address(number), content, type_=kind)
    await sender.settle()
    await quiet(stack)
    assert stack.so_far() == {"apns": [], "fcm": []}
    counted = await stack.counted()
    assert set(counted) <= {"other"}
    await sender.send_message(address(number), ENCRYPTED)
    await stack.received("fcm", 1)
    await quiet(stack)
    assert stack.so_far() == {"apns": [], "fcm": ["message"]}
    assert (await stack.counted())["message"] == 2
    await sender.disconnect()


async def test_a_push_that_a_filter_stops_is_neither_sent_nor_counted_and_the_others_of_its_phone_are(
    stack: Stack, device: Callable[[int, str], XmppClient]
) -> None:
    """Prosody asks for the registration that is stopped. The iPhone's other token must ring all the same."""
    await stack.lua(f"require 'prosody.core.configmanager'.set('*', 'stopped_token', '{ANDROID}'); return true")
    for module in ("push_http", "a_filter"):  # the order in which they are loaded is to make no difference
        assert await stack.lua(f"return require 'prosody.core.modulemanager'.reload('{DOMAIN}', '{module}') ~= nil")
        stack.begin()
        number = {"push_http": 8, "a_filter": 9}[module]
        caller = device(10, "phone")
        await asleep(device(number, "phone"))
        await caller.login()
        await caller.propose_call(address(number))
        await stack.received("apns", 1)
        await quiet(stack)
        assert stack.so_far() == {"apns": ["call"], "fcm": []}
        assert await stack.counted() == {"call": 1}
        await caller.disconnect()
    await stack.lua("require 'prosody.core.configmanager'.set('*', 'stopped_token', nil); return true")
