"""Clients that CommEazy's apps are not: over BOSH (XEP-0124, XEP-0206), and with the login before SASL (XEP-0078)."""

from __future__ import annotations

import base64
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
import pytest

from lab.servers.prosody import DOMAIN
from lab.stack import Lab
from tests.live.prosody import lua, read, read_until, settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.scraping import ScrapedPage

USER, PASSWORD = "bosh-user", "bosh-password"
_CONFIG = """
    modules_enabled = {
        "admin_shell"; "bosh"; "http_openmetrics"; "legacyauth"; "presence"; "roster"; "saslauth"; "smacks"; "tls";
        "websocket";
    }
    consider_bosh_secure = true
    bosh_max_inactivity = 2
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        lab.prosody.config = _CONFIG
        lab.start(lab.prosody, lab.prosody_exporter)
        yield lab


@dataclass
class Bosh:
    """One BOSH session, which sends and never waits with a request of its own: Prosody finds it silent."""

    http: aiohttp.ClientSession
    url: str
    sid: str = ""
    rids: Iterator[int] = field(default_factory=lambda: itertools.count(1000))

    async def send(self, payload: str = "", **attributes: str) -> str:
        """Send a body, and return the answer."""
        if self.sid:
            attributes["sid"] = self.sid
        named = "".join(f" {name}='{value}'" for name, value in attributes.items())
        names = "xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'"
        body = f"<body {names} rid='{next(self.rids)}'{named}>{payload}</body>"
        async with self.http.post(self.url, data=body, headers={"Content-Type": "text/xml"}) as answer:
            return await answer.text()

    async def open(self) -> None:
        """Begin the session, so that nothing waits: Prosody answers each request at once."""
        answer = await self.send(to=DOMAIN, ver="1.6", wait="5", hold="0", **{"xmpp:version": "1.0"})
        self.sid = answer.partition(" sid='")[2].partition("'")[0] or answer.partition(' sid="')[2].partition('"')[0]
        assert self.sid, answer

    async def log_in(self) -> None:
        """Log in by SASL, and bind a resource."""
        secret = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
        auth = f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>"
        assert "<success" in await self.send(auth)
        await self.send(**{"xmpp:restart": "true"})
        bind = "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
        assert "<jid>" in await self.send(bind)

    async def log_in_as_before_sasl(self, password: str) -> str:
        """Log in by XEP-0078, which binds the resource too; return the answer."""
        fields = f"<username>{USER}</username><password>{password}</password><resource>old</resource>"
        query = f"<query xmlns='jabber:iq:auth'>{fields}</query>"
        return await self.send(f"<iq xmlns='jabber:client' type='set' id='a'>{query}</iq>")


def logins(metrics: ScrapedPage) -> dict[str, float]:
    """Logins by result."""
    return {result: metrics("prosody_authentications_total", result=result) for result in ("success", "failure")}


async def test_logins_before_sasl_count_and_a_silent_bosh_client_is_dropped(lab: Lab) -> None:
    await settled(lab)
    create = f'require "prosody.core.usermanager".create_user("{USER}", "{PASSWORD}", "{DOMAIN}")'
    assert await lua(lab, f"return {create}") == "true"
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{lab.prosody.http_port}/http-bind"
        modern, old, wrong = Bosh(http, url), Bosh(http, url), Bosh(http, url)
        for client in (modern, old, wrong):
            await client.open()
        await modern.log_in()
        assert logins(await read(lab)) == {"success": 1, "failure": 0}
        assert "type='result'" in (await old.log_in_as_before_sasl(PASSWORD)).replace('"', "'")
        assert logins(await read(lab)) == {"success": 2, "failure": 0}
        for failures in (1, 2):
            assert "not-authorized" in await wrong.log_in_as_before_sasl("wrong")
            metrics = await read_until(lab, "prosody_authentications_total", failures, result="failure")
        assert logins(metrics) == {"success": 2, "failure": 2}
        metrics = await read_until(lab, "prosody_dead_connections_total", 2, cause="read_timeout")
    assert metrics("prosody_c2s_sessions") == 0
    assert metrics("prosody_exporter_instrument_errors_total") == 0


async def test_a_form_that_a_client_reads_before_its_login_is_no_login(lab: Lab) -> None:
    before = logins(await settled(lab))
    async with aiohttp.ClientSession() as http:
        client = Bosh(http, f"http://127.0.0.1:{lab.prosody.http_port}/http-bind")
        await client.open()
        form = "<iq xmlns='jabber:client' type='get' id='f'><query xmlns='jabber:iq:auth'/></iq>"
        assert "<resource/>" in await client.send(form)
        await lua(lab, "return 1")  # a turn of the event loop
        assert logins(await read(lab)) == before
