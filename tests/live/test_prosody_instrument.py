"""The counting script in a real Prosody: it counts from the start, corrects itself, and leaves without a trace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from exporters.prosody.reader import INSTRUMENT_VERSION, SCRIPTS
from lab.users.traffic import Mix
from tests.live.prosody import (
    MIX,
    assert_counters,
    assert_no_drift,
    assert_sessions,
    hooks,
    lua,
    read,
    read_until,
    settled,
    traffic_on,
)

if TYPE_CHECKING:
    from lab.stack import Lab

NEWER = SCRIPTS["instrument"].replace(f"local VERSION = {INSTRUMENT_VERSION};", "local VERSION = 99;")
TEN_FOR_TWO_SECONDS = NEWER.replace("{ call = 30, message = 60 }, 20000;", "{ call = 2, message = 2 }, 10;")
assert TEN_FOR_TWO_SECONDS != NEWER

_PUSHES = """
local events = prosody.hosts["commeazy.com"].events;
for i = 1, 15 do
    local info = { jid = "push.commeazy.com"; node = ("secret"):rep(3) .. i; resource = "phone"; timestamp = 1 };
    local event = { push = { username = "pushed" .. i; info = info; kind = "call" }; outcome = "sent" };
    events.fire_event("push_http/asked", event);
    events.fire_event("push_http/answered", event);
end
"""
_ANSWERED = 'events.fire_event("push_http/answered", event);'
# Of what a handler can reach, all of Prosody and the script, how many texts are these users, and how many hold a token.
_REACHABLE = """
collectgarbage();
local waiting = { prosody.hosts["commeazy.com"].events.get_handlers("push_http/asked")[1] };
local seen, users, tokens = {}, {}, {};
local function look(found)
    if type(found) == "string" then
        if found:find("^pushed%d+$") then users[found] = true; end
        if found:find(("secret"):rep(3), 1, true) then tokens[found] = true; end
    elseif (type(found) == "table" or type(found) == "function") and not seen[found] then
        seen[found], waiting[#waiting + 1] = true, found;
    end
end
while #waiting > 0 do
    local found = table.remove(waiting);
    if type(found) == "table" then
        for key, value in next, found do look(key); look(value); end
    else
        for i = 1, debug.getinfo(found, "u").nups do look(select(2, debug.getupvalue(found, i))); end
    end
end
local count = require "prosody.util.iterators".count;
return count(next, users) .. " users, " .. count(next, tokens) .. " tokens";
"""


async def test_counting_starts_with_prosody_and_not_with_the_first_scrape(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    while await lua(lab, SCRIPTS["installed"]) == "0":  # noqa: ASYNC110 - another process works
        await asyncio.sleep(0.1)
    async with traffic_on(lab) as traffic:
        truth = await traffic.hold(MIX)
        metrics = await read(lab)
        assert_counters(metrics, truth)
        assert metrics("prosody_exporter_sessions_adopted_total") == 0


async def test_sessions_older_than_the_exporter_are_counted(lab: Lab) -> None:
    lab.start(lab.prosody)
    async with traffic_on(lab) as traffic:
        truth = await traffic.hold(MIX)
        lab.start(lab.prosody_exporter)
        metrics = await settled(lab)
        assert_sessions(metrics, truth)
        assert metrics("prosody_exporter_sessions_adopted_total") == sum(truth.sessions.values())
        before = await read(lab)
        user = next(client for client in traffic.clients if client.connected)
        await user.ping()
        after = await read(lab)
        assert (
            after("prosody_stanzas_total", direction="in", kind="iq")
            == before("prosody_stanzas_total", direction="in", kind="iq") + 1
        )  # an old session's stanzas are counted from now on
        assert_no_drift(after)


async def test_churn_leaves_exact_totals_and_no_drift(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        truth = await traffic.churn(rate=30, seconds=8)
        metrics = await read(lab)
        assert_counters(metrics, truth)
        assert metrics("prosody_c2s_sessions") == 0
        passes = metrics("prosody_exporter_reconciliations_total")
        await lua(lab, NEWER)  # which reconciles at once
        metrics = await read_until(lab, "prosody_exporter_reconciliations_total", passes + 1)
        assert_counters(metrics, truth)
        assert_no_drift(metrics)


async def test_a_reconciliation_corrects_what_no_event_reported_and_says_so(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        await traffic.hold(Mix(websocket=4))
        await lua(lab, "for _, s in pairs(prosody.full_sessions) do s.presence = nil; break; end return true")
        await lua(lab, NEWER)  # which reconciles at once
        metrics = await read_until(lab, "prosody_exporter_session_drift_total", 1)
        assert metrics.by("prosody_presence_sessions", "show") == {"available": 3, "unavailable": 1}


async def test_installing_twice_changes_nothing_and_a_newer_version_keeps_the_counters(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        truth = await traffic.hold(Mix(websocket=4, tcp=2, failed_logins=1))
        installed = await hooks(lab)
        assert await lua(lab, SCRIPTS["instrument"]) == f"kept version {INSTRUMENT_VERSION}"
        assert await hooks(lab) == installed
        assert await lua(lab, NEWER) == "installed version 99"
        assert await hooks(lab) == installed
        metrics = await read(lab)
        assert metrics("prosody_exporter_instrument_version") == 99
        assert_sessions(metrics, truth)
        assert_counters(metrics, truth)
        more = await traffic.hold(Mix(websocket=1))
        metrics = await read(lab)
        assert metrics("prosody_c2s_sessions") == 7
        assert metrics("prosody_stanzas_total", direction="in", kind="iq") == truth.sent["iq"] + more.sent["iq"]
        assert await lua(lab, SCRIPTS["instrument"]) == "kept version 99"


async def test_uninstall_removes_every_hook_and_prosody_goes_on(lab: Lab) -> None:
    lab.start(lab.prosody)
    async with traffic_on(lab) as traffic:
        await traffic.hold(Mix(websocket=4, tcp=2))
        bare = await hooks(lab)
        lab.start(lab.prosody_exporter)
        await settled(lab)
        assert await hooks(lab) != bare
        looks = 'return package.loaded["kept by this test"].counters.lag.count'
        await lua(lab, 'package.loaded["kept by this test"] = package.loaded["commeazy.monitoring"] return 1')
        lab.prosody_exporter.stop()
        while await lua(lab, SCRIPTS["uninstall"]) != "removed":
            pass
        assert await hooks(lab) == bare
        last = await lua(lab, looks)
        await traffic.clients[0].ping()
        await asyncio.sleep(0.3)  # three looks of a timer that goes on
        assert await lua(lab, looks) == last


async def test_a_handler_that_fails_is_counted_and_never_reaches_prosody(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    for event in ("resource-bind", "smacks-hibernation-start", "presence/bare"):
        # ours is the first by priority; the others would raise themselves at such an event
        first = f'prosody.hosts["commeazy.com"].events.get_handlers("{event}")[1]'
        assert await lua(lab, f"return select('#', {first}({{}}))") == "0"
    metrics = await read(lab)
    assert metrics("prosody_exporter_instrument_errors_total") == 3
    assert metrics("prosody_up") == 1


async def test_of_a_push_that_is_watched_no_token_is_kept_in_clear(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    await lua(lab, _PUSHES)
    assert await lua(lab, _REACHABLE) == "15 users, 0 tokens"


async def test_no_more_pushes_are_watched_than_the_limit(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    assert "installed" in await lua(lab, TEN_FOR_TWO_SECONDS)
    await lua(lab, _PUSHES)
    await asyncio.sleep(5)  # all have become silent
    metrics = await read(lab)
    assert metrics("prosody_push_wakeups_total", kind="call", result="silent") == 10


async def test_pushes_that_get_no_answer_make_room_again(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    assert "installed" in await lua(lab, TEN_FOR_TWO_SECONDS.replace("UNANSWERED = 150;", "UNANSWERED = 1;"))
    await lua(lab, _PUSHES.replace(_ANSWERED, ""))
    await asyncio.sleep(5)
    await lua(lab, _PUSHES.replace("pushed", "others"))
    metrics = await read_until(lab, "prosody_push_wakeups_total", 10)
    assert metrics("prosody_push_wakeups_total", kind="call", result="silent") == 10


async def test_a_late_answer_gives_the_phone_as_long_from_then_on(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    assert "installed" in await lua(lab, TEN_FOR_TWO_SECONDS)
    kept = 'package.loaded["kept by this test"]'
    await lua(lab, _PUSHES.replace("1, 15", "1, 1").replace(_ANSWERED, f"{kept} = event;"))
    await asyncio.sleep(4)
    assert (await read(lab))("prosody_push_wakeups_total") == 0
    await lua(lab, f'local event, events = {kept}, prosody.hosts["commeazy.com"].events; {_ANSWERED}')
    async with asyncio.timeout(60):  # not only once it would count as unanswered
        await read_until(lab, "prosody_push_wakeups_total", 1, result="silent")
