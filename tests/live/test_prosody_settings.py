"""Configurations that people have, on a real Prosody: what the exporter says of each, and that it tells them apart."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest

from lab.servers.prosody import DOMAIN
from lab.users.traffic import Mix
from tests.live.prosody import lua, read, read_until, settled, traffic_on

if TYPE_CHECKING:
    from lab.scraping import ScrapedPage
    from lab.stack import Lab

_INVITED = "registration_invite_only = true"


async def with_flags(lab: Lab, *flags: str) -> None:
    """Run the exporter with these flags too."""
    before = lab.prosody_exporter.flags
    lab.prosody_exporter.flags = lambda: [*before(), *flags]
    lab.prosody_exporter.restart()


def setting(metrics: ScrapedPage, name: str) -> tuple[str, float]:
    """The host that a setting names, and its value."""
    [sample] = [s for s in metrics.samples if s.name == "prosody_setting" and s.labels["name"] == name]
    return sample.labels["host"], sample.value


def modules(*extra: str) -> str:
    """Appendix A's modules that a login needs, and more."""
    names = ("admin_shell", "http_openmetrics", "roster", "saslauth", "smacks", "tls", "websocket", *extra)
    return "modules_enabled = {" + "; ".join(f'"{name}"' for name in names) + "}"


async def test_a_setting_names_the_host_that_has_the_worst_value(lab: Lab) -> None:
    lab.prosody.config = """
        VirtualHost "a.example"
            smacks_hibernation_time = 600
            admins = { "one@a.example", "two@a.example", "three@a.example" }
        VirtualHost "z.example"
            smacks_hibernation_time = 20
            c2s_require_encryption = false
            authentication = "internal_plain"
    """
    lab.start(lab.prosody, lab.prosody_exporter)
    metrics = await read(lab)
    assert setting(metrics, "smacks_hibernation_time") == ("a.example", 600)
    assert setting(metrics, "c2s_require_encryption") == ("z.example", 0)
    assert setting(metrics, "read_timeout") == ("*", 60)
    assert setting(metrics, "admins")[0] == "a.example"
    providers = {s.labels["host"]: s.labels["provider"] for s in metrics.samples if "authentication_info" in s.name}
    assert providers == {DOMAIN: "internal_hashed", "a.example": "internal_hashed", "z.example": "internal_plain"}
    assert metrics.by("prosody_module_loaded", "host")["z.example"] > 0


@pytest.mark.parametrize(("value", "seconds"), [("false", math.inf), ('"2 minutes"', math.inf), ('"75"', 75)])
async def test_a_read_timeout_that_is_no_number_is_no_timeout(lab: Lab, value: str, seconds: float) -> None:
    lab.prosody.config = f"network_settings = {{ read_timeout = {value} }}"
    lab.start(lab.prosody)
    # Prosody's own loop fails on it at each connection, so the exporter's words are read without the exporter
    lab.start(lab.prosody_exporter)
    assert setting(await read(lab), "read_timeout") == ("*", seconds)


_REGISTERS = modules("register_ibr")  # which loads mod_register_limits by itself
_ALLOWLIST = f"{_REGISTERS}; allowlist_registration_only = true"


@pytest.mark.parametrize(
    ("config", "allowed", "restricted"),
    [
        (f"allow_registration = true; {_INVITED}\n{modules('register', 'invites_register')}", 1, 1),
        (modules("invites_register"), 0, 1),  # which loads mod_register_ibr by itself
        (f"registration_invite_only = false\n{modules('register_ibr', 'invites_register')}", 0, 0),
        (f"allow_registration = true; {_INVITED}\n{modules('register')}", 1, 0),  # nothing reads the setting
        (modules(), 0, 1),  # no account can be made at all
        (_REGISTERS, 0, 0),
        (_ALLOWLIST, 0, 1),
        (f"{_REGISTERS}; whitelist_registration_only = true", 0, 1),
        (f'{_ALLOWLIST}; registration_allowlist = {{ "10.0.0.0/8" }}', 0, 1),
        (f'{_ALLOWLIST}; registration_allowlist = {{ "0.0.0.0/0" }}', 0, 0),
        (f'{_ALLOWLIST}; registration_whitelist = {{ "::/0" }}', 0, 0),
        (f'{_ALLOWLIST}; modules_disabled = {{ "register_limits" }}', 0, 0),  # nothing reads the list
    ],
)
async def test_restricted_registration_is_distinguished_from_open_registration(
    lab: Lab, config: str, allowed: float, restricted: float
) -> None:
    lab.prosody.config = config
    lab.start(lab.prosody, lab.prosody_exporter)
    metrics = await read(lab)
    assert setting(metrics, "allow_registration") == (DOMAIN, allowed)
    assert setting(metrics, "registration_restricted") == (DOMAIN, restricted)


async def test_push_hibernation_is_a_setting_of_its_own_only_where_mod_cloud_notify_is_loaded(lab: Lab) -> None:
    lab.prosody.config = "push_max_hibernation_timeout = 90"
    lab.start(lab.prosody, lab.prosody_exporter)
    assert setting(await read(lab), "push_max_hibernation_timeout") == (DOMAIN, 90)
    lab.prosody.config = modules()
    lab.prosody.restart()
    assert "push_max_hibernation_timeout" not in {s.labels.get("name") for s in (await read(lab)).samples}


async def test_a_session_with_a_push_registration_stays_until_it_was_pushed(lab: Lab) -> None:
    lab.prosody.config = "smacks_hibernation_time = 1; push_max_hibernation_timeout = 2; smacks_max_ack_delay = 1"
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        name, other = await traffic.accounts(2)
        for _ in range(3):  # an app that comes back with a new resource each time
            app = traffic.client(name)
            await app.login()
            await app.enable_push("push.commeazy.com", "device")
            app.abort()
        plain, sender = traffic.client(other), traffic.client(other)
        await plain.login()
        plain.abort()
        await read_until(lab, "prosody_dead_connections_total", 1, cause="hibernation_expired")
        await asyncio.sleep(
            4
        )  # twice push_max_hibernation_timeout, which Prosody 13.0 sets a timer for and then ignores
        metrics = await read(lab)
        assert metrics("prosody_c2s_hibernated_sessions") == 3
        assert metrics.by("prosody_presence_sessions", "show") == {"available": 3}
        await sender.login()
        traffic.clients.append(sender)
        await sender.message(f"{name}@{DOMAIN}")
        await read_until(lab, "prosody_dead_connections_total", 4, cause="hibernation_expired")


async def test_websocket_without_a_secure_proxy_offers_no_login_and_the_exporter_says_so(lab: Lab) -> None:
    lab.prosody.config = "consider_websocket_secure = false"
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    metrics = await read_until(lab, "prosody_websocket_login_mechanisms", 0, host=DOMAIN)
    assert metrics("prosody_connection_errors_total", reason="probe_no_login") == 1
    assert setting(metrics, "consider_websocket_secure") == ("*", 0)
    assert "set consider_websocket_secure = true" in lab.prosody_exporter.log.read_text()
    lab.prosody.config = ""
    lab.prosody.restart()
    while True:
        metrics = await read(lab)  # tells the probe the hosts
        if "prosody_websocket_login_mechanisms" in metrics.names and metrics("prosody_websocket_login_mechanisms"):
            break
        await asyncio.sleep(0.5)
    assert "offers logins" in lab.prosody_exporter.log.read_text()


async def test_an_endpoint_of_one_virtual_host_is_found_by_its_name(lab: Lab) -> None:
    lab.prosody.config = """
        modules_enabled = { "admin_shell"; "http_openmetrics"; "roster"; "saslauth"; "tls" }
        VirtualHost "chat.example"
            modules_enabled = { "websocket" }
    """
    lab.start(lab.prosody, lab.prosody_exporter)
    await read_until(lab, "prosody_connection_errors_total", 1, reason="probe_handshake")
    line = lab.prosody_exporter.log.read_text()
    assert "HTTP status 404" in line
    assert "--prosody.websocket-host" in line
    await with_flags(lab, "--prosody.websocket-host=chat.example")
    await read_until(lab, "prosody_websocket_ping_seconds_count", 1)


async def test_closing_every_client_is_no_error_of_the_probes_connection(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    await read_until(lab, "prosody_websocket_ping_seconds_count", 1)
    await lua(
        lab,
        'local c = require "prosody.core.modulemanager".get_module("*", "c2s").module:shared "sessions" '
        "for _, s in pairs(c) do s:close() end return 1",
    )
    metrics = await read_until(lab, "prosody_websocket_ping_seconds_count", 2)
    assert metrics.by("prosody_connection_errors_total", "reason") == {}


async def test_sessions_without_stream_management_are_counted(lab: Lab) -> None:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    async with traffic_on(lab) as traffic:
        await traffic.hold(Mix(websocket=2))
        await lua(lab, "for _, s in pairs(prosody.full_sessions) do s.smacks = nil; break end return 1")
        lab.prosody_exporter.stop()
        await lua(
            lab, 'package.loaded["commeazy.monitoring"] = nil return 1'
        )  # the next one begins with a reconciliation
        lab.prosody_exporter.start()
        metrics = await settled(lab)
        assert metrics("prosody_c2s_sessions_without_smacks", host=DOMAIN) == 1
        assert metrics("prosody_c2s_sessions") == 2


# What each of them is after the server's start, and what the changed configuration says
_READ_AT_LOAD = {
    "smacks_hibernation_time": (30, 31),
    "smacks_max_ack_delay": (5, 6),
    "push_max_hibernation_timeout": (90, 91),
    "push_notification_with_body": (0, 1),
    "push_notification_with_sender": (0, 1),
    "c2s_require_encryption": (1, 0),
    "s2s_require_encryption": (1, 0),
    "s2s_secure_auth": (1, 0),
    "registration_restricted": (1, 0),
    "consider_websocket_secure": (1, 0),
}


def configured(which: int) -> str:
    """Lines that set each of them to its first or its second value."""
    values = {
        name.replace("registration_restricted", "registration_invite_only"): (
            str(pair[which]) if max(pair) > 1 else ("false", "true")[pair[which]]
        )
        for name, pair in _READ_AT_LOAD.items()
    }
    loaded = modules("s2s", "cloud_notify", "invites_register")
    return "\n".join([loaded, "modules_disabled = {}; s2s_ports = {}", *map(" = ".join, values.items())])


async def test_a_setting_is_what_its_module_uses_and_not_what_it_would_read_if_it_were_loaded_again(lab: Lab) -> None:
    lab.prosody.config = configured(0)
    lab.start(lab.prosody, lab.prosody_exporter)

    async def shown() -> dict[str, float]:
        metrics = await read(lab)
        return {name: setting(metrics, name)[1] for name in _READ_AT_LOAD}

    before, after = ({name: float(pair[which]) for name, pair in _READ_AT_LOAD.items()} for which in (0, 1))
    assert await shown() == before
    lab.prosody.config = configured(1)
    lab.prosody.prepare()
    await lua(lab, "prosody.reload_config() return 1")
    said = 'return require "prosody.core.configmanager".get("*", "smacks_hibernation_time")'
    assert await lua(lab, said) == "31"
    assert await shown() == before
    for host, name in (
        *((DOMAIN, name) for name in ("smacks", "cloud_notify", "saslauth", "invites_register")),
        *(("*", name) for name in ("websocket", "s2s")),
        (DOMAIN, "s2s"),
    ):
        await lua(lab, f'return require "prosody.core.modulemanager".reload("{host}", "{name}")')
    assert await shown() == after
