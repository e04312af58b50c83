"""What follows a push: `prosody_push_wakeups_total` against phones whose ways back are known."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import aiohttp
import pytest

from alerts.panels import PANELS
from exporters.prosody.reader import SCRIPTS
from lab.fakes.providers import Mood
from lab.scraping import ScrapedPage, scrape
from lab.servers.gateway import SECRET
from lab.servers.prosody import DOMAIN, Prosody
from lab.stack import Lab
from lab.users.accounts import PASSWORD, ask, create_accounts, username
from tests.dashboards.model import all_panels
from tests.live import sleepers
from tests.live.prosody import lua
from tests.live.push import ANDROID, SERVICE, Stack, asleep
from xmpp.client import XmppClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_THREE_PHONES = f"""
local events = prosody.hosts["{DOMAIN}"].events;
local function push(resource, kind)
    local info = {{ jid = "push.commeazy.com"; node = "token of " .. resource; resource = resource; timestamp = 1 }};
    local event = {{ push = {{ username = "three"; info = info; kind = kind }}; outcome = "sent" }};
    events.fire_event("push_http/asked", event);
    events.fire_event("push_http/answered", event);
end
local function comes(resource)
    local session = {{ username = "three"; host = "{DOMAIN}"; resource = resource }};
    events.fire_event("smacks-hibernation-end", {{ resumed = session }});
end
for _, kind in ipairs {{ "call", "message" }} do
    for _, resource in ipairs {{ "first", "second", "third" }} do push(resource, kind); end
end
comes("second"); push("first", "call"); comes("third"); comes("third");
return "done";
"""
WITHIN = 4  # seconds that a push is watched in this test, in place of the 30 and 60 in force
PHONES = 20
_QUICK = SCRIPTS["instrument"].replace("local VERSION = ", "local VERSION = 1000 + ", 1)
_QUICK, _CHANGED = re.subn(r"\{ call = 30, message = 60 \}", f"{{ call = {WITHIN}, message = {WITHIN} }}", _QUICK)
assert _CHANGED == 1


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Lab() as lab:
        yield Stack(lab, "smacks_max_ack_delay = 1\nsmacks_hibernation_time = 300\n")


class Watched:
    """The phones, and what is counted of them."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        self.stack = stack
        self._http = http
        self._before: dict[tuple[str, str], float] = {}

    def phone(self, number: int, name: str = "phone") -> XmppClient:
        """The phone of a user."""
        endpoints = self.stack.lab.prosody.endpoints()
        return XmppClient(endpoints, username(number), PASSWORD, http=self._http, resource=name)

    async def page(self) -> ScrapedPage:
        """What the exporter says."""
        return await scrape(self.stack.lab.prosody_exporter.url)

    async def begin(self) -> None:
        """Forget what was counted before."""
        self._before = await self._total()

    async def results(self) -> dict[tuple[str, str], float]:
        """What was counted in this test: kind and result."""
        total = await self._total()
        return {key: n for key, value in total.items() if (n := value - self._before.get(key, 0))}

    async def _total(self) -> dict[tuple[str, str], float]:
        page = await self.page()
        return {
            (s.labels["kind"], s.labels["result"]): s.value
            for s in page.samples
            if s.name == "prosody_push_wakeups_total"
        }

    async def until(self, count: float) -> dict[tuple[str, str], float]:
        """What was counted, once it is so much."""
        async with asyncio.timeout(60):
            while sum((results := await self.results()).values()) < count:  # noqa: ASYNC110 - a page announces nothing
                await asyncio.sleep(0.2)
        return results


@pytest.fixture
async def watched(stack: Stack) -> AsyncIterator[Watched]:
    await create_accounts(stack.lab.prosody.admin_socket, DOMAIN, 50)
    stack.begin()
    async with aiohttp.ClientSession() as http:
        watched = Watched(stack, http)
        await watched.page()
        assert "version" in await lua(stack.lab, _QUICK)
        await watched.begin()
        yield watched
    stack.providers.behave(Mood())


async def test_when_half_of_the_pushes_are_delivered_half_are_silent_exactly(watched: Watched) -> None:
    phones = [watched.phone(number) for number in range(1, PHONES + 1)]
    for phone in phones:
        await asleep(phone, f"{ANDROID}-{phone.username}")
    caller = watched.phone(50, "half")
    await caller.login()
    watched.stack.providers.behave(Mood(losing=2))
    for phone in phones:
        await caller.message(f"{phone.username}@{DOMAIN}")
    pushed = await watched.stack.received("fcm", PHONES)
    delivered = {push["node"] for push in pushed if push["delivered"]}
    assert len(delivered) == PHONES / 2
    for phone in phones:
        if f"{ANDROID}-{phone.username}" in delivered:
            await phone.resume()
    assert await watched.until(PHONES) == {("message", "woke"): PHONES / 2, ("message", "silent"): PHONES / 2}
    page = await watched.page()
    assert page("prosody_push_wakeup_seconds_count", kind="message") == PHONES / 2
    gateway = await scrape(f"http://127.0.0.1:{watched.stack.gateway.metrics_port}")
    assert {name: total(expr, page, gateway) for name, expr in funnel().items()} == {
        "handed on": PHONES,
        "received": PHONES,
        "sent": PHONES,
        "woke": PHONES / 2,
        "failed: secret": 0,
    }
    await caller.disconnect()


def funnel() -> dict[str, str]:
    """The queries of the panel that compares Prosody, gateway, providers and phones, by their words."""
    (panel,) = (one for one in all_panels("push-gateway-health") if one.json["title"] == "Pushes at each step/s")
    steps, refused = (target["expr"] for target in panel.json["targets"])
    recorded = next(each.expr for each in PANELS if each.record == steps.partition("{")[0])
    found = re.findall(r'label_replace\(\s*(.*?),\s*"step", "([^"]+)", "", ""', recorded)
    return {step: expr for expr, step in found} | {"failed: secret": refused}


def total(expr: str, *pages: ScrapedPage) -> float:
    """What the counters of a query, a sum of rates, stand at."""
    found = re.findall(r"rate\((\w+)(?:\{([^}]*)\})?\[", expr)
    assert found
    sum_of_all = 0.0
    for name, matchers in found:
        labels = dict(re.findall(r'(\w+)="([^"]*)"', matchers))
        sum_of_all += next(page for page in pages if name in page.names)(name, **labels)
    return sum_of_all


async def test_each_way_back_is_seen_once(watched: Watched) -> None:
    ways = {number: f"{ANDROID}-{username(number)}" for number in range(21, 27)}
    phones = {number: watched.phone(number) for number in ways}
    for number, phone in phones.items():
        await asleep(phone, ways[number])
    caller = watched.phone(50, "ways")
    await caller.login()
    for number in ways:
        if number != 26:  # 26 gets no push, and comes by itself
            await caller.propose_call(f"{username(number)}@{DOMAIN}")
    await watched.stack.received("fcm", 5)
    await phones[21].resume()
    again = watched.phone(22)  # logs in again as the same device
    await again.login()
    moved = watched.phone(23, "another-name")  # logs in as another device, with the same token
    await moved.login()
    await moved.enable_push(SERVICE, ways[23], secret=SECRET)
    for _ in range(2):  # comes twice
        await phones[24].resume()
        phones[24].abort()
    await phones[26].resume()
    assert await watched.until(5) == {("call", "woke"): 4, ("call", "silent"): 1}
    for client in (again, moved, phones[21], phones[26], caller):
        await client.disconnect()


async def test_a_second_push_before_the_phone_is_back_supersedes_the_first(watched: Watched) -> None:
    phone, caller = watched.phone(27), watched.phone(50, "twice")
    await asleep(phone, ANDROID)
    await caller.login()
    for count in (1, 2):
        await caller.propose_call(f"{username(27)}@{DOMAIN}")
        await watched.stack.received("fcm", count)
    await phone.resume()
    assert await watched.until(2) == {("call", "superseded"): 1, ("call", "woke"): 1}
    for client in (phone, caller):
        await client.disconnect()


async def test_of_a_users_three_phones_each_is_told_apart(watched: Watched) -> None:
    assert await lua(watched.stack.lab, _THREE_PHONES) == "done"
    assert await watched.until(7) == {
        ("call", "woke"): 2,
        ("message", "woke"): 2,
        ("call", "silent"): 2,
        ("message", "silent"): 1,
    }
    assert (await watched.page())("prosody_exporter_instrument_errors_total") == 0


async def test_a_phone_that_is_called_again_and_again_and_never_comes_is_silent(watched: Watched) -> None:
    phone, caller = watched.phone(31), watched.phone(50, "again")
    await asleep(phone, ANDROID)
    await caller.login()
    for count in range(1, 4):
        await caller.propose_call(f"{username(31)}@{DOMAIN}")
        await watched.stack.received("fcm", count)
        await asyncio.sleep(1)
    assert await watched.until(3) == {("call", "superseded"): 1, ("call", "silent"): 2}
    await caller.disconnect()


async def test_a_phone_that_comes_to_another_node_is_not_silent_one_that_was_there_before_is(watched: Watched) -> None:
    """The other node is seen only in the storage that both share. A visit there is news to mod_cloud_notify here."""
    lab = watched.stack.lab
    other = Prosody(lab, "prosody9", f'data_path = "{lab.prosody.directory}"')
    other.start()
    comes, was_there, caller = watched.phone(28), watched.phone(32), watched.phone(50, "elsewhere")
    tokens = {phone.username: f"{ANDROID}-{phone.username}" for phone in (comes, was_there)}
    for phone in (comes, was_there):
        await asleep(phone, tokens[phone.username])
    await caller.login()
    await caller.propose_call(f"{was_there.username}@{DOMAIN}")  # so that both modules here know its registration
    await watched.stack.received("fcm", 1)
    await was_there.resume()
    was_there.abort()
    async with aiohttp.ClientSession() as http:

        async def visit(username: str) -> None:
            there = XmppClient(other.endpoints(), username, PASSWORD, http=http, resource="phone")
            await there.login()
            await there.enable_push(SERVICE, tokens[username], secret=SECRET)
            await there.disconnect()

        await asyncio.sleep(1.1)  # registrations are dated in whole seconds
        await visit(was_there.username)
        await asyncio.sleep(2.1)  # and the clocks of two nodes may differ by one
        for phone in (comes, was_there):
            await caller.propose_call(f"{phone.username}@{DOMAIN}")
        await watched.stack.received("fcm", 3)
        await visit(comes.username)
        assert await watched.until(3) == {("call", "woke"): 2, ("call", "silent"): 1}
    await caller.disconnect()
    other.kill()


async def test_a_push_that_no_provider_took_is_no_silent_one(watched: Watched) -> None:
    phone, caller = watched.phone(29), watched.phone(50, "refused")
    await asleep(phone, ANDROID)
    await caller.login()
    watched.stack.providers.behave(Mood(refusing=("fcm",)))
    await caller.message(f"{username(29)}@{DOMAIN}")
    await watched.stack.received("fcm", 1)
    await asyncio.sleep(WITHIN + 2)
    assert await watched.results() == {}
    await caller.disconnect()


async def test_a_canary_that_logs_in_or_resumes_is_counted_by_its_handler(watched: Watched) -> None:
    name = "synthetic-canary-fcm"
    await ask(watched.stack.lab.prosody.admin_socket, f"user:create('{name}@{DOMAIN}', '{PASSWORD}')")
    endpoints = watched.stack.lab.prosody.endpoints()
    async with aiohttp.ClientSession() as http:
        phone = XmppClient(endpoints, name, PASSWORD, http=http, resource="phone")
        await phone.login()
        phone.abort()
        await phone.resume()
        page = await watched.page()
        assert page.by("prosody_canary_logins_total", "handler") == {"fcm": 2}
        await phone.disconnect()


async def test_ten_thousand_sleeping_sessions_are_told_apart_exactly(watched: Watched) -> None:
    lab = watched.stack.lab
    half_silent, half_woke = sleepers.NEVER_BACK / 2, (sleepers.MANY - sleepers.NEVER_BACK) / 2
    before = (await watched.page())("prosody_c2s_hibernated_sessions")
    assert await lua(lab, sleepers.FALL_ASLEEP) == "done"
    try:
        assert (await watched.page())("prosody_c2s_hibernated_sessions") == before + sleepers.MANY
        assert await lua(lab, sleepers.PUSH_AND_WAKE) == "done"
        results = await watched.until(sleepers.MANY)
    finally:
        await lua(lab, sleepers.LEAVE)
    assert results == {
        ("call", "woke"): half_woke,
        ("message", "woke"): half_woke,
        ("call", "silent"): half_silent,
        ("message", "silent"): half_silent,
    }
    assert (await watched.page())("prosody_exporter_instrument_errors_total") == 0


async def test_a_restart_of_prosody_makes_no_phone_silent(watched: Watched) -> None:
    phone, caller = watched.phone(30), watched.phone(50, "restart")
    await asleep(phone, ANDROID)
    await caller.login()
    await caller.propose_call(f"{username(30)}@{DOMAIN}")
    await watched.stack.received("fcm", 1)
    watched.stack.lab.prosody.restart()
    await asyncio.sleep(WITHIN + 2)
    page = await watched.page()
    assert page("prosody_push_wakeups_total") == 0
    assert page("prosody_exporter_instrument_errors_total") == 0
