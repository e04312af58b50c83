"""A real Prosody with our exporter and known users, for the live tests of the Prosody exporter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from exporters.prosody.client import AdminShell
from lab.scraping import ScrapedPage, scrape, scrape_settled, scrape_until
from lab.users.traffic import Mix, Traffic, Truth

if TYPE_CHECKING:
    from lab.stack import Lab

MIX = Mix(websocket=20, tcp=6, hibernated=4, force_quit=3, away=7, failed_logins=5)

# Seconds become testable; the specification's rate limit hides dead connections on 13.0.1 (see docs/prosody.md).
QUICK = """
smacks_hibernation_time = 2
network_settings = { read_timeout = 2 }
modules_disabled = { "offline"; "s2s"; "limits" }
"""

# How many handlers and filters there are: what an uninstall must bring back to what it was.
_HOOKS = """
local function inside(f, wanted)
    for i = 1, 20 do
        local name, value = debug.getupvalue(f, i);
        if name == wanted then return value; end
    end
end
local events = {};
local function count(owner, object)
    for event, handlers in pairs(inside(object.add_handler, "event_map")) do
        for _ in pairs(handlers) do events[owner] = (events[owner] or 0) + 1; end
    end
end
count("*", prosody.events);
for host, h in pairs(prosody.hosts) do count(host, h.events); end
local session_filters = 0;
for _, session in pairs(prosody.full_sessions) do
    for _, list in pairs(session.filters or {}) do session_filters = session_filters + #list; end
end
local filter_hooks = inside(require "prosody.util.filters".add_filter_hook, "new_filter_hooks");
return require "prosody.util.json".encode {
    events = events; session_filters = session_filters; filter_hooks = #filter_hooks;
    loaded = package.loaded["commeazy.monitoring"] ~= nil;
};
"""


def traffic_on(lab: Lab, prefix: str = "user") -> Traffic:
    """Return users for the lab's Prosody, their names beginning with `prefix`; use it in an `async with` block."""
    return Traffic(lab.prosody.endpoints(), lab.prosody.admin_socket, prefix=prefix)


async def lua(lab: Lab, source: str) -> str:
    """Run Lua in the lab's Prosody."""
    shell = AdminShell(lab.prosody.admin_socket)
    try:
        return await shell.lua(source)
    finally:
        await shell.close()


async def hooks(lab: Lab) -> dict[str, object]:
    """Count what is hooked into the lab's Prosody."""
    answer: dict[str, object] = json.loads(await lua(lab, _HOOKS))
    return answer


async def read(lab: Lab) -> ScrapedPage:
    """Scrape the exporter."""
    return await scrape(lab.prosody_exporter.url)


async def read_until(lab: Lab, name: str, value: float, /, **labels: str) -> ScrapedPage:
    """Scrape until a sample has this value; the test's own timeout ends an endless wait."""
    return await scrape_until(lab.prosody_exporter.url, name, value, **labels)


async def settled(lab: Lab) -> ScrapedPage:
    """Scrape once every session that is older than the counting script is counted."""
    return await scrape_settled(lab.prosody_exporter.url)


def assert_sessions(metrics: ScrapedPage, truth: Truth) -> None:
    """Check the gauges of sessions against the users that there are."""
    assert metrics.by("prosody_c2s_sessions", "transport") == truth.sessions
    assert metrics("prosody_c2s_hibernated_sessions", host="commeazy.com") == truth.hibernated
    assert metrics.by("prosody_presence_sessions", "show") == truth.presence


def assert_counters(metrics: ScrapedPage, truth: Truth) -> None:
    """Check the counters against what the users did."""
    assert metrics.by("prosody_authentications_total", "result") == +truth.authentications
    for kind in ("message", "presence", "iq"):
        assert metrics("prosody_stanzas_total", direction="in", kind=kind) == truth.sent[kind]


def assert_no_drift(metrics: ScrapedPage) -> None:
    """Check that the counting script missed nothing."""
    assert metrics("prosody_exporter_session_drift_total") == 0
    assert metrics("prosody_exporter_instrument_errors_total") == 0
    assert metrics("prosody_exporter_registry_families_left_out") == 0
