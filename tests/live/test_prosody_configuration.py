"""What the exporter reads from a real Prosody beside sessions: settings, modules, push registrations, its registry."""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import TYPE_CHECKING

from exporters.prosody.client import AdminShell
from exporters.prosody.reader import SCRIPTS
from lab.running.workspace import ROOT
from tests.live.prosody import (
    lua,
    read,
    read_until,
    settled,
    traffic_on,
)

if TYPE_CHECKING:
    from lab.stack import Lab


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
