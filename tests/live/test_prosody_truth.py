"""Every metric of the Prosody exporter against a real Prosody whose users are known exactly."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from exporters.prosody.client import AdminShell
from exporters.prosody.reader import INSTRUMENT_VERSION, SCRIPTS
from lab.running.workspace import ROOT
from lab.stack import Lab
from lab.users.traffic import Mix, Truth
from tests.live.prosody import QUICK, hooks, lua, read, read_until, settled, traffic_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.scraping import Scrape

NEWER = SCRIPTS["instrument"].replace(f"local VERSION = {INSTRUMENT_VERSION};", "local VERSION = 99;")
MIX = Mix(websocket=20, tcp=6, hibernated=4, force_quit=3, away=7, failed_logins=5)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def assert_sessions(metrics: Scrape, truth: Truth) -> None:
    assert metrics.by("prosody_c2s_sessions", "transport") == truth.sessions
    assert metrics("prosody_c2s_hibernated_sessions", host="commeazy.com") == truth.hibernated
    assert metrics.by("prosody_presence_sessions", "show") == truth.presence


def assert_counters(metrics: Scrape, truth: Truth) -> None:
    assert metrics.by("prosody_authentications_total", "result") == +truth.authentications
    for kind in ("message", "presence", "iq"):
        assert metrics("prosody_stanzas_total", direction="in", kind=kind) == truth.sent[kind]


def assert_no_drift(metrics: Scrape) -> None:
    assert metrics("prosody_exporter_session_drift_total") == 0
    assert metrics("prosody_exporter_instrument_errors_total") == 0
    assert metrics("prosody_exporter_registry_families_left_out") == 0


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


async def test_pushes_and_registrations_are_counted(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        sender_name, sleeper_name = await traffic.accounts(2)
        sender, sleeper = traffic.client(sender_name), traffic.client(sleeper_name)
        await sender.login()
        await sleeper.login()
        await sleeper.enable_push("push.commeazy.com", "device-one", push_type="voip")
        await sleeper.enable_push("push.commeazy.com", "device-two")
        await read_until(lab, "prosody_push_registrations", 2)
        await sleeper.disconnect()
        await sender.message(f"{sleeper_name}@commeazy.com")
        await sender.propose_call(f"{sleeper_name}@commeazy.com")
        await sender.settle()
        metrics = await read(lab)
        assert metrics.by("prosody_push_notifications_total", "kind") == {"message": 2, "call": 2}
        query = f"""
            local iq = require "prosody.util.stanza".iq {{ type = "get"; id = "x" }}
            local events = prosody.hosts["commeazy.com"].events
            events.fire_event("cloud_notify/push", {{ username = "{sleeper_name}"; original_stanza = iq }})
            return 1
        """
        await lua(lab, query)
        assert (await read(lab))("prosody_push_notifications_total", kind="other") == 1
        await sleeper.login()
        await sleeper.disable_push("push.commeazy.com", "device-one")
        await read_until(lab, "prosody_push_registrations", 1)
        traffic.clients += [sender, sleeper]


async def test_the_registrations_of_a_deleted_user_are_gone(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        (name,) = await traffic.accounts(1)
        user = traffic.client(name)
        await user.login()
        await user.enable_push("push.commeazy.com", "device")
        await read_until(lab, "prosody_push_registrations", 1)
        delete = f'require "prosody.core.usermanager".delete_user("{name}", "commeazy.com")'
        assert await lua(lab, f"return {delete}") == "true"
        async with asyncio.timeout(60):
            await read_until(lab, "prosody_push_registrations", 0)


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
        await one._send_stanza("presence", "<show>dnd</show>", to=f"{other.username}@commeazy.com")
        await one._send_stanza("presence", "", type="unavailable", to=f"{other.username}@commeazy.com")
        await one._send_stanza("presence", "", type="probe")
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


async def test_prosodys_own_metrics_are_those_of_now_though_only_their_numbers_are_sent(lab: Lab) -> None:
    def level(name: str, value: int) -> str:
        registry = 'require "prosody.core.statsmanager".get_metric_registry()'
        family = f'{registry}:gauge("prosody_mod_demo__level", "", "A demo.", {{ "name" }})'
        return f'{family}:with_labels("{name}"):set({value}) return 1'

    lab.start(lab.prosody, lab.prosody_exporter)
    seen = []
    for name, value in (("one", 1), ("one", 2), ("one", 3), ("two", 4), ("two", 5)):
        await lua(lab, level(name, value))
        seen.append((await read(lab)).by("prosody_mod_demo__level", "name"))
    assert seen == [{"one": 1}, {"one": 2}, {"one": 3}, {"one": 3, "two": 4}, {"one": 3, "two": 5}]

    shell = AdminShell(lab.prosody.admin_socket)
    assert await shell.lua(SCRIPTS["scrape"]) == "nil"  # what the exporter's connection was sent is its own
    text, numbers = await shell.lua(SCRIPTS["reader"]), await shell.lua(SCRIPTS["scrape"])
    await lua(lab, level("three", 6))
    new_text = await shell.lua(SCRIPTS["scrape"])
    await shell.close()
    assert 'prosody_mod_demo__level{name="two"} 5' in text
    assert "\n" not in numbers  # no text, only one line of JSON
    assert re.fullmatch(r"[-0-9.e+]+( [-0-9.e+]+)+", json.loads(numbers)["registry_numbers"])
    assert 'prosody_mod_demo__level{name="three"} 6' in new_text


async def test_settings_and_modules_are_those_of_the_running_server(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    metrics = await read(lab)
    assert metrics("prosody_setting", name="allow_registration") == 0
    assert {s.labels["name"]: s.value for s in metrics.samples if s.name == "prosody_setting"} == {
        "read_timeout": 60,
        "smacks_hibernation_time": 30,
        "smacks_max_ack_delay": 30,
        "c2s_timeout": 300,
        "allow_registration": 0,
        "c2s_require_encryption": 1,
        "s2s_require_encryption": 1,
        "s2s_secure_auth": 1,
        "push_notification_with_body": 0,
        "push_notification_with_sender": 0,
        "statistics_interval": 30,
        "admins": 2,
        "registration_restricted": 1,
        "consider_websocket_secure": 1,
        "push_max_hibernation_timeout": 72 * 3600,
    }
    assert metrics("prosody_authentication_info", host="commeazy.com", provider="internal_hashed") == 1
    loaded = {s.labels["module"]: s.value for s in metrics.samples if s.name == "prosody_module_loaded"}
    appendix = (ROOT / "lab/servers/prosody.appendix-a.cfg.lua").read_text()
    for option, value in (("modules_enabled", 1), ("modules_disabled", 0)):
        block = re.search(rf"^{option} = {{(.*?)^}}", appendix, re.MULTILINE | re.DOTALL)
        assert block
        named = re.findall(r'^ +"(\w+)";', block[1], re.MULTILINE)
        assert named
        assert {module: loaded[module] for module in named} == dict.fromkeys(named, value)
    assert {module: loaded[module] for module in ("mam", "muc_mam", "register", "register_ibr")} == dict.fromkeys(
        ("mam", "muc_mam", "register", "register_ibr"), 0
    )
    lab.prosody.config = """
        allow_registration = true; c2s_require_encryption = false; smacks_hibernation_time = "2 minutes"
        smacks_max_ack_delay = 0
        network_settings = {}; statistics_interval = "manual"
        modules_enabled = { "admin_shell"; "http_openmetrics"; "mam"; "smacks" }
    """
    lab.prosody.restart()
    metrics = await read(lab)
    assert metrics("prosody_setting", name="allow_registration") == 1
    assert metrics("prosody_setting", name="c2s_require_encryption") == 0
    assert metrics("prosody_setting", name="smacks_hibernation_time") == 120
    assert metrics("prosody_setting", name="smacks_max_ack_delay") == math.inf
    assert metrics("prosody_setting", name="read_timeout") == 840
    assert "statistics_interval" not in {s.labels["name"] for s in metrics.samples if s.name == "prosody_setting"}
    assert metrics("prosody_module_loaded", host="commeazy.com", module="mam") == 1
    assert metrics("prosody_module_loaded", host="commeazy.com", module="websocket") == 0
    assert metrics("prosody_module_loaded", host="commeazy.com", module="turn_external") == 0
