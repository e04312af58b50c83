"""A call to a phone that vanished, under Appendix A's own values and what the guide adds; no value is shortened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from lab.servers.gateway import SECRET
from lab.servers.prosody import DOMAIN
from lab.stack import Lab
from lab.users.accounts import PASSWORD, create_accounts, username
from tests.live.push import ANDROID, IPHONE, SERVICE, Stack, snippet
from xmpp.client import XmppClient

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Lab() as lab:
        yield Stack(lab, snippet())


async def test_a_call_to_a_phone_that_vanished_rings(stack: Stack) -> None:
    prosody = stack.lab.prosody
    await create_accounts(prosody.admin_socket, DOMAIN, 2)
    async with aiohttp.ClientSession() as http:
        phone, caller = (XmppClient(prosody.endpoints(), username(number), PASSWORD, http=http) for number in (1, 2))
        await phone.login()
        await phone.enable_push(SERVICE, IPHONE, secret=SECRET, push_type="voip")
        await phone.enable_push(SERVICE, ANDROID, secret=SECRET)
        phone.vanish()
        await caller.login()
        await caller.propose_call(f"{username(1)}@{DOMAIN}")
        (call,) = await stack.received("apns", 1)
        assert call["node"] == IPHONE
        (call,) = await stack.received("fcm", 1)
        assert call["data"]["type"] == "incoming-call"
        await caller.disconnect()
