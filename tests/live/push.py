"""The path of a push in the lab, for live tests: a real Prosody with the bridge, the gateway and the fake providers."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from lab.running.workspace import ROOT
from lab.servers.gateway import SECRET
from lab.servers.prosody import DOMAIN
from lab.users.accounts import ask, username

if TYPE_CHECKING:
    from lab.stack import Lab
    from xmpp.client import Client

IPHONE = "0f1e2d3c4b5a6978" * 4
ANDROID = "dGVzdA:APA91bF-token_of_an_android_phone"
SERVICE = "push.commeazy.com"
QUICK = """
smacks_max_ack_delay = 1
smacks_hibernation_time = 4
"""
_BRIDGE = """
plugin_paths = {{ "{plugins}" }}
push_http_url = "{url}/push"
VirtualHost "{domain}"
    modules_enabled = {{ "push_http"; {modules} }}
"""


def snippet() -> str:
    """What the guide tells an operator to add to Appendix A, without the module list, of which Appendix A has all."""
    text = (ROOT / "prometheus/snippets/prosody.cfg.lua").read_text()
    settings, lists = re.subn(r"^modules_enabled = \{.*?^\}\n", "", text, flags=re.MULTILINE | re.DOTALL)
    assert lists == 1
    return settings


class Stack:
    """The servers, and the users on them.

    Args:
        lab: where they run.
        settings: lines of Prosody's configuration beside Appendix A's and the bridge's.
        modules: further modules of the virtual host, each in quotes, with a semicolon between two.
    """

    def __init__(self, lab: Lab, settings: str = QUICK, modules: str = "") -> None:
        self.lab = lab
        self.providers = lab.providers
        self.gateway = lab.push_gateway
        lab.prosody.config = settings + _BRIDGE.format(
            plugins=ROOT / "deploy/prosody", url=self.gateway.url, domain=DOMAIN, modules=modules
        )
        self._before = {"apns": 0, "fcm": 0}
        lab.start(self.providers, self.gateway, lab.prosody)

    def begin(self) -> None:
        """Let the pushes so far be those of an earlier test."""
        self._before = {provider: len(self.providers.received(provider)) for provider in self._before}

    async def received(self, provider: str, count: int) -> list[dict[str, Any]]:
        """The pushes that reached a provider in this test, once there are so many."""
        async with asyncio.timeout(15):
            while len(received := self.providers.received(provider)[self._before[provider] :]) < count:  # noqa: ASYNC110 - another process announces nothing
                await asyncio.sleep(0.02)
        return received

    async def registrations(self, number: int) -> str:
        """The nodes that Prosody has for a user."""
        return await ask(
            self.lab.prosody.admin_socket,
            "> local d = require 'prosody.core.storagemanager'"
            f".open('{DOMAIN}', 'cloud_notify'):get('{username(number)}') or {{}}; local n = {{}}; "
            "for _, r in pairs(d) do n[#n+1] = r.node end; table.sort(n); return true, 'nodes: '..table.concat(n, ' ')",
        )

    async def sessions(self, number: int) -> str:
        """How many sessions a user has, sleeping ones included."""
        return await ask(
            self.lab.prosody.admin_socket,
            f"> local u = prosody.hosts['{DOMAIN}'].sessions['{username(number)}']; local n = 0; "
            "for _ in pairs(u and u.sessions or {}) do n = n + 1; end; return true, 'sessions: '..n",
        )


async def registered(phone: Client) -> Client:
    """An iPhone with both tokens and an Android phone of the same user, now offline."""
    await phone.login()
    await phone.enable_push(SERVICE, IPHONE, secret=SECRET, push_type="voip")
    await phone.enable_push(SERVICE, ANDROID, secret=SECRET)
    await phone.disconnect()
    return phone
