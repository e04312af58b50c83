"""What the synthetic users say while servers are killed, frozen and restarted: the truth, soon, and no secret."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession

from lab.scraping import ScrapedPage, scrape, scrape_until
from lab.servers.exporters import QUICK
from lab.stack import Lab
from lab.users.accounts import PASSWORD
from tests.live.prosody import QUICK as PROSODY_QUICK
from tests.live.prosody import lua
from xmpp.client import XmppClient
from xmpp.websocket import http_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

TOTAL = "synthetic_journeys_total"
NONCE = re.compile(r"[0-9a-f]{24}\.[0-9a-f]{16}")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        for node in lab.nodes:
            node.prosody.config = PROSODY_QUICK
        prosodies = [node.prosody for node in lab.nodes]
        lab.synthetic.wishes["intervals"] = dict(QUICK) | {"login": "3s", "presence": "3s", "turn": "5s"}
        lab.start(*prosodies, lab.haproxy, lab.coturn, lab.synthetic)
        yield lab


async def until(lab: Lab, what: str, journey: str, result: str, **labels: str) -> ScrapedPage:
    """Return the page once a journey ended in this way once more; the test's own deadline is the limit."""
    first: float | None = None
    while True:
        page = await scrape(lab.synthetic.url)
        count = page(TOTAL, journey=journey, result=result, **labels)
        if first is None:
            first = count
        elif count > first:
            return page
        await asyncio.sleep(0.1)
        assert lab.synthetic.running, what


def successes(page: ScrapedPage, journey: str, **labels: str) -> float:
    return page(TOTAL, journey=journey, result="ok", **labels)


@asynccontextmanager
async def no_success(lab: Lab, journey: str, **labels: str) -> AsyncIterator[None]:
    """Assert that inside the context nothing ends well, and that something is counted as failed."""
    before = await scrape(lab.synthetic.url)
    yield
    after = await scrape(lab.synthetic.url)
    assert successes(after, journey, **labels) == successes(before, journey, **labels)
    assert after(TOTAL, journey=journey, **labels) > before(TOTAL, journey=journey, **labels)


async def told(lab: Lab, journey: str, **labels: str) -> None:
    """Return once a failure of this journey is counted, whatever its result."""
    page = await scrape(lab.synthetic.url)
    failed = page(TOTAL, journey=journey, **labels) - successes(page, journey, **labels)
    while True:
        page = await scrape(lab.synthetic.url)
        if page(TOTAL, journey=journey, **labels) - successes(page, journey, **labels) > failed:
            return
        await asyncio.sleep(0.1)


NODE2 = {"from": "prosody2", "to": "prosody2"}


@pytest.mark.parametrize("way", ["kill", "freeze"])
async def test_a_dead_node_is_reported_and_its_return_too(lab: Lab, way: str) -> None:
    node = lab.nodes[1].prosody
    await until(lab, "well before", "message", "ok", **NODE2)
    getattr(node, way)()
    async with no_success(lab, "message", **NODE2):
        await told(lab, "message", **NODE2)
    if way == "kill":
        node.start()
    else:
        node.thaw()
    await until(lab, "well again", "message", "ok", **NODE2)


async def test_a_login_at_a_node_that_is_down_is_never_taken_for_one_at_another(lab: Lab) -> None:
    node = lab.nodes[1].prosody
    node.stop()
    try:
        async with no_success(lab, "login", **NODE2):
            await told(lab, "login", **NODE2)
        page = await until(lab, "the other node serves", "login", "wrong_node", **NODE2)
        assert page("synthetic_session_up", node="prosody2") == 0
    finally:
        node.start()
    await until(lab, "well again", "login", "ok", **NODE2)


@pytest.mark.parametrize("way", ["kill", "freeze"])
async def test_a_dead_relay_is_reported(lab: Lab, way: str) -> None:
    await until(lab, "well before", "turn_allocate", "ok", to="coturn1")
    getattr(lab.coturn, way)()
    async with no_success(lab, "turn_allocate", to="coturn1"):
        await told(lab, "turn_allocate", to="coturn1")
    if way == "kill":
        lab.coturn.start()
    else:
        lab.coturn.thaw()
    await until(lab, "well again", "turn_udp", "ok", to="coturn1")


@pytest.mark.parametrize(("way", "result"), [("kill", "refused"), ("freeze", "timeout")])
async def test_a_dead_door_is_reported(lab: Lab, way: str, result: str) -> None:
    await until(lab, "well before", "login", "ok", to="any")
    getattr(lab.haproxy, way)()
    async with no_success(lab, "login", to="any"), no_success(lab, "message"):
        await until(lab, "nobody serves", "login", result, to="any")
        await told(lab, "message", **NODE2)
        await scrape_until(lab.synthetic.url, "synthetic_session_up", 0)
    if way == "kill":
        lab.haproxy.start()
    else:
        lab.haproxy.thaw()
    for journey, place in (("login", "any"), ("message", "prosody2")):
        await until(lab, "well again", journey, "ok", **{"from": place, "to": place})


async def test_a_frozen_exporter_blames_nobody(lab: Lab) -> None:
    await until(lab, "well before", "message", "ok", **NODE2)
    before = await scrape(lab.synthetic.url)
    lab.synthetic.freeze()
    await asyncio.sleep(4)
    lab.synthetic.thaw()
    await until(lab, "well again", "message", "ok", **NODE2)
    after = await scrape(lab.synthetic.url)
    assert after("synthetic_exporter_stalls_total") > before("synthetic_exporter_stalls_total")
    for result in ("timeout", "disconnected", "protocol", "internal"):
        labels = {"journey": "message", "from": "prosody2", "to": "prosody2", "result": result}
        assert after(TOTAL, **labels) == before(TOTAL, **labels)


async def test_the_sessions_of_a_killed_exporter_are_not_foreign_to_the_next_one(lab: Lab) -> None:
    lab.synthetic.kill()
    lab.synthetic.start()
    page = await until(lab, "well again", "presence_online", "ok", **NODE2)
    assert page("synthetic_foreign_sessions") == 0


async def test_a_stolen_password_and_a_stranger_are_counted_and_get_no_answer(lab: Lab) -> None:
    words = "words of a stranger"
    before = await scrape(lab.synthetic.url)
    async with http_session() as http:
        thief = XmppClient(
            lab.prosody.endpoints(),
            "synthetic-sender",
            lab.synthetic.passwords["synthetic-sender"],
            http=http,
            resource="thief",
        )
        await thief.login()
        await scrape_until(lab.synthetic.url, "synthetic_foreign_sessions", 1)
        await lua(lab, f'require "prosody.core.usermanager".create_user("stranger", "{PASSWORD}", "commeazy.com")')
        stranger = XmppClient(lab.prosody.endpoints(), "stranger", PASSWORD, http=http)
        await stranger.login()
        await stranger.message("synthetic-prosody1@commeazy.com", words)
        forged = "<probe xmlns='urn:commeazy:synthetic:1'>0.0</probe>"
        await stranger.send_message("synthetic-prosody1@commeazy.com", forged)
        for reason in ("stranger", "forged"):
            name = "synthetic_dropped_messages_total"
            await scrape_until(lab.synthetic.url, name, before(name, reason=reason) + 1, reason=reason)
        await thief.disconnect()
        await stranger.disconnect()
    page = await scrape_until(lab.synthetic.url, "synthetic_foreign_sessions", 0)
    log = lab.synthetic.log.read_text()
    for text in (words, "stranger@", "thief"):
        assert text not in log
        assert text not in page.text


async def test_no_password_and_no_nonce_is_in_a_log_or_on_a_page(lab: Lab) -> None:
    pages = []
    async with ClientSession() as http:
        for path in ("/", "/metrics", "/-/ready", "/nothing"):
            async with http.get(lab.synthetic.url + path) as answer:
                pages.append(await answer.text())
    for text in (lab.synthetic.log.read_text(), *pages):
        assert not NONCE.search(text)
        assert not any(password in text for password in lab.synthetic.passwords.values())
        assert "<GEDEELD_SECRET>" not in text
