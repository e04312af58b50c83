"""Every metric of the Prosody exporter against a real Prosody whose users are known exactly."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from lab.users.traffic import Mix
from tests.live.prosody import (
    MIX,
    QUICK,
    assert_counters,
    assert_no_drift,
    assert_sessions,
    lua,
    read,
    read_until,
    settled,
    traffic_on,
)

if TYPE_CHECKING:
    from lab.stack import Lab


async def test_what_is_held_is_what_is_reported_also_after_restarts_of_both_sides(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        truth = await traffic.hold(MIX)
        metrics = await read(lab)
        assert_sessions(metrics, truth)
        assert_counters(metrics, truth)
        for kind in ("message", "presence", "iq"):
            assert metrics("prosody_stanzas_total", direction="out", kind=kind) == truth.received[kind]
        assert metrics.by("prosody_presence_updates_total", "type") == {
            "available": truth.sent["presence"],
            "unavailable": truth.ends["force_quit"],
        }
        assert metrics("prosody_up") == 1
        assert metrics("prosody_build_info", version=await lua(lab, "return prosody.version")) == 1

        lab.prosody_exporter.restart()
        metrics = await read(lab)
        assert_sessions(metrics, truth)
        assert_counters(metrics, truth)

        lab.prosody.restart()
        metrics = await settled(lab)
        assert metrics("prosody_c2s_sessions") == 0
        assert metrics("prosody_authentications_total") == 0
    async with traffic_on(lab) as traffic:
        truth = await traffic.hold(MIX)
        metrics = await read(lab)
        assert_sessions(metrics, truth)
        assert_counters(metrics, truth)
        assert_no_drift(metrics)


async def test_a_session_resumed_over_another_transport_moves_there(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        await traffic.hold(Mix(websocket=3, hibernated=1))
        sleeper = next(client for client in traffic.clients if not client.connected)
        await sleeper.resume("tcp")
        metrics = await read(lab)
        assert metrics.by("prosody_c2s_sessions", "transport") == {"websocket": 2, "tcp": 1}
        assert metrics("prosody_c2s_hibernated_sessions") == 0
        sleeper.abort()  # Prosody 13.0 reads nothing from a session resumed over another transport, so no farewell
        metrics = await read_until(lab, "prosody_c2s_hibernated_sessions", 1)
        assert metrics.by("prosody_c2s_sessions", "transport") == {"websocket": 2, "tcp": 1}


async def test_dead_connections_are_counted_by_what_found_them(lab: Lab) -> None:
    lab.prosody.config = QUICK
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        await traffic.hold(Mix(websocket=2, tcp=1, vanished=3))
        await read_until(lab, "prosody_dead_connections_total", 3, cause="read_timeout")
        metrics = await read_until(lab, "prosody_dead_connections_total", 3, cause="hibernation_expired")
        assert metrics("prosody_c2s_sessions") == 0
        assert metrics("prosody_presence_updates_total", type="unavailable") == 3


async def test_module_reloads_change_no_count(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        first = await traffic.hold(Mix(websocket=5, tcp=2, hibernated=1, away=2))
        for module in ("presence", "saslauth", "smacks", "websocket", "cloud_notify", "ping", "roster"):
            await lua(lab, f'return require"prosody.core.modulemanager".reload("commeazy.com", "{module}")')
        await lua(lab, 'return require"prosody.core.modulemanager".reload("*", "c2s")')
        metrics = await read(lab)
        assert_sessions(metrics, first)
        assert_counters(metrics, first)
        second = await traffic.hold(Mix(websocket=3, tcp=1, away=1, failed_logins=2))
        metrics = await read(lab)
        assert metrics("prosody_c2s_sessions") == 11
        assert metrics("prosody_presence_sessions", show="away") == 3
        assert metrics.by("prosody_authentications_total", "result") == +(
            first.authentications + second.authentications
        )
        assert_no_drift(metrics)


async def test_a_host_that_goes_and_comes_back_is_counted_again(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        await traffic.hold(Mix(websocket=3, hibernated=1))
        gone = """
            local events = prosody.hosts["commeazy.com"].events
            events.fire_event("cloud_notify/registration", { origin = { username = "x" } })
            return require "prosody.core.hostmanager".deactivate "commeazy.com"
        """
        assert await lua(lab, gone) == "true"
        metrics = await read(lab)
        assert metrics.by("prosody_c2s_sessions", "transport") == {}
        assert "prosody_push_registrations" not in metrics.names
        # the one that hibernated had no connection to lose
        assert metrics.by("prosody_connection_errors_total", "reason") == {"host-gone": 2}
        assert await lua(lab, 'return require "prosody.core.hostmanager".activate "commeazy.com"') == "true"
    async with traffic_on(lab, "second") as traffic:
        truth = await traffic.hold(Mix(websocket=2, tcp=1, away=1))
        metrics = await read(lab)
        assert_sessions(metrics, truth)
        assert_no_drift(metrics)


async def test_presence_that_is_no_broadcast_moves_no_session(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        await traffic.hold(Mix(websocket=2))
        one, other = traffic.clients
        await one.send_stanza("presence", "<show>dnd</show>", to=f"{other.username}@commeazy.com")
        await one.send_stanza("presence", "", type="unavailable", to=f"{other.username}@commeazy.com")
        await one.send_stanza("presence", "", type="probe")
        await one.settle()
        metrics = await read(lab)
        assert metrics.by("prosody_presence_sessions", "show") == {"available": 2}
        assert metrics.by("prosody_presence_updates_total", "type") == {"available": 2}
        (name,) = await traffic.accounts(1)
        unseen = traffic.client(name)
        await unseen.login(show="unavailable")
        assert (await read(lab)).by("prosody_presence_sessions", "show") == {"available": 2, "unavailable": 1}
        await unseen.disconnect()
        await one.presence("unavailable")
        await one.disconnect()
        metrics = await read(lab)
        assert metrics.by("prosody_presence_updates_total", "type") == {"available": 2, "unavailable": 1}


async def test_a_session_that_takes_the_resource_of_another_replaces_it(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        (name,) = await traffic.accounts(1)
        for transport in ("websocket", "tcp", "websocket"):
            client = traffic.client(name)
            client.resource = "phone"
            await client.login(transport)
            metrics = await read(lab)
            assert metrics.by("prosody_c2s_sessions", "transport") == {transport: 1}
        client.abort()
        await read_until(lab, "prosody_c2s_hibernated_sessions", 1)
        client = traffic.client(name)
        client.resource = "phone"
        await client.login("tcp")
        metrics = await read(lab)
        assert metrics.by("prosody_c2s_sessions", "transport") == {"tcp": 1}
        assert metrics("prosody_c2s_hibernated_sessions") == 0
        assert_no_drift(metrics)
        traffic.clients.append(client)


async def test_a_stream_that_prosody_closes_with_an_error_is_counted_by_its_condition(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        await traffic.hold(Mix(websocket=1, tcp=1))
        await lua(
            lab, 'for _, s in pairs(prosody.full_sessions) do s:close{ condition = "policy-violation" } end return 1'
        )
        await lua(lab, "return 1")
        metrics = await read_until(lab, "prosody_c2s_sessions", 0)
    errors = Counter(
        {s.labels["transport"]: s.value for s in metrics.samples if s.labels.get("reason") == "policy-violation"}
    )
    assert errors == {"websocket": 1, "tcp": 1}


async def test_a_stream_is_counted_also_when_no_host_is_known_or_the_condition_is_made_up(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    _, writer = await asyncio.open_connection("127.0.0.1", lab.prosody.c2s_port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await read_until(lab, "prosody_connection_errors_total", 1, transport="tcp", reason="not-well-formed")
    writer.close()
    async with traffic_on(lab) as traffic:
        await traffic.hold(Mix(websocket=2))
        await traffic.clients[0]._send("<message xmlns='urn:example:no-stanza'/>")
        await read_until(lab, "prosody_c2s_sessions", 1)
        await lua(lab, 'select(2, next(prosody.full_sessions)):close("of-its-own") return 1')
        await read_until(lab, "prosody_c2s_sessions", 0)
    metrics = await read(lab)
    assert metrics.by("prosody_connection_errors_total", "reason") == dict.fromkeys(
        ("not-well-formed", "unsupported-stanza-type", "undefined-condition"), 1
    )
    assert metrics("prosody_stanzas_total", direction="in", kind="message") == 0
