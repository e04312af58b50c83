"""The path of a push in the lab, for live tests: a real Prosody with the bridge, the gateway and the fake providers."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from lab.running.workspace import ROOT
from lab.scraping import scrape
from lab.servers.gateway import SECRET
from lab.servers.prosody import DOMAIN
from lab.users.accounts import ask, username

if TYPE_CHECKING:
    from pathlib import Path

    from lab.stack import Lab
    from xmpp.client import XmppClient

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
        plugins: where those are.
    """

    def __init__(self, lab: Lab, settings: str = QUICK, *, modules: str = "", plugins: Path | None = None) -> None:
        self.lab = lab
        self.providers = lab.providers
        self.gateway = lab.push_gateway
        lab.prosody.config = settings + _BRIDGE.format(
            plugins=f'{ROOT / "deploy/prosody"}"; "{plugins or ""}',
            url=self.gateway.url,
            domain=DOMAIN,
            modules=modules,
        )
        self._before = {"apns": 0, "fcm": 0}
        self._counted: dict[str, float] = {}
        lab.start(self.providers, self.gateway, lab.prosody, lab.prosody_exporter)

    def begin(self) -> None:
        """Let the pushes so far be those of an earlier test."""
        self._before = {provider: len(self.providers.received(provider)) for provider in self._before}

    async def received(self, provider: str, count: int) -> list[dict[str, Any]]:
        """The pushes that reached a provider in this test, once there are so many."""
        async with asyncio.timeout(60):
            while len(received := self.providers.received(provider)[self._before[provider] :]) < count:  # noqa: ASYNC110 - another process announces nothing
                await asyncio.sleep(0.02)
        return received

    def so_far(self) -> dict[str, list[str]]:
        """What each provider received in this test: "call" or "message"."""
        words = {"incoming-call": "call", "new-message": "message"}
        told = {name: self.providers.received(name)[self._before[name] :] for name in self._before}
        return {
            "apns": [words[push["payload"]["type"]] for push in told["apns"]],
            "fcm": [words[push["data"]["type"]] for push in told["fcm"]],
        }

    async def counted(self) -> dict[str, float]:
        """What `prosody_push_notifications_total` has counted since the last look, by kind."""
        metrics = await scrape(self.lab.prosody_exporter.url)
        total = metrics.by("prosody_push_notifications_total", "kind")
        new = {kind: value - self._counted.get(kind, 0) for kind, value in total.items()}
        self._counted = total
        return {kind: value for kind, value in new.items() if value}

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

    async def lua(self, code: str) -> str:
        """Run Lua in Prosody."""
        return await ask(self.lab.prosody.admin_socket, f"> {code}")


async def asleep(phone: XmppClient, *tokens: str, carbons: bool = False) -> XmppClient:
    """A phone that logged in and fell asleep, see `fall_asleep`."""
    await phone.login()
    await fall_asleep(phone, *tokens, carbons=carbons)
    return phone


async def fall_asleep(phone: XmppClient, *tokens: str, carbons: bool = False) -> None:
    """Register these tokens, in this order (by default both of an iPhone's), and lose the connection."""
    if carbons:
        await phone.enable_carbons()
    for token in tokens or (IPHONE, ANDROID):
        await phone.enable_push(SERVICE, token, secret=SECRET, push_type="voip" if token == IPHONE else "")
    phone.abort()


async def registered(phone: XmppClient) -> XmppClient:
    """An iPhone with both tokens and an Android phone of the same user, now offline."""
    await phone.login()
    await phone.enable_push(SERVICE, IPHONE, secret=SECRET, push_type="voip")
    await phone.enable_push(SERVICE, ANDROID, secret=SECRET)
    await phone.disconnect()
    return phone
