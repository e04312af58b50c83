"""What the Prosody exporter says when Prosody fails under it: metric, log line, and recovery in the next scrape."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import aiohttp
import pytest

from exporters.prosody.collector import missing_families
from lab.scraping import ScrapedPage
from lab.users.traffic import Mix
from tests.live.prosody import lua, read, settled, traffic_on

if TYPE_CHECKING:
    from lab.stack import Lab


@pytest.fixture
async def running(lab: Lab) -> Lab:
    lab.start(lab.prosody, lab.prosody_exporter)
    await settled(lab)
    return lab


def assert_down(lab: Lab, metrics: ScrapedPage, reason: str, remedy: str) -> None:
    assert metrics("prosody_up") == 0
    assert metrics.by("prosody_exporter_scrape_failures_total", "reason") == {reason: 1}
    assert "prosody_c2s_sessions" not in metrics.names  # what is not known is not said
    lines = [line for line in lab.prosody_exporter.log.read_text().splitlines() if f"reason={reason}" in line]
    assert len(lines) == 1
    assert remedy in lines[0]


async def assert_recovers_in_one_scrape(lab: Lab, reason: str) -> None:
    metrics = await read(lab)
    assert metrics("prosody_up") == 1
    assert metrics.by("prosody_exporter_scrape_failures_total", "reason") == {reason: 1}


async def test_a_stopped_prosody_is_down_and_up_again_at_once_when_started(running: Lab) -> None:
    running.prosody.stop()
    assert_down(running, await read(running), "no_socket", "start Prosody")
    running.prosody.start()
    await assert_recovers_in_one_scrape(running, "no_socket")


async def test_a_killed_prosody_leaves_a_socket_that_refuses(running: Lab) -> None:
    running.prosody.kill()
    assert_down(running, await read(running), "connection_refused", "start Prosody")
    running.prosody.start()
    await assert_recovers_in_one_scrape(running, "connection_refused")


async def test_a_hung_prosody_is_down_within_the_scrapes_own_deadline(running: Lab) -> None:
    running.prosody.freeze()
    try:
        async with (
            aiohttp.ClientSession(headers={"X-Prometheus-Scrape-Timeout-Seconds": "2"}) as http,
            http.get(f"{running.prosody_exporter.url}/metrics", timeout=aiohttp.ClientTimeout(total=2)) as answer,
        ):
            metrics = ScrapedPage(await answer.text())  # aiohttp would raise after the 2 s that Prometheus waits
    finally:
        running.prosody.thaw()
    assert_down(running, metrics, "timeout", "hangs")
    await assert_recovers_in_one_scrape(running, "timeout")


async def test_a_prosody_restarted_between_two_scrapes_costs_none(running: Lab) -> None:
    running.prosody.restart()
    metrics = await settled(running)
    assert metrics("prosody_up") == 1
    assert metrics.by("prosody_exporter_scrape_failures_total", "reason") == {}


async def test_a_replaced_socket_costs_no_scrape(running: Lab) -> None:
    # from a timer, as the reload ends the connection that asks for it
    reload = """return require "prosody.util.timer".add_task(0, function ()
        require "prosody.core.modulemanager".reload("*", "admin_socket");
    end)"""
    before = running.prosody.admin_socket.stat().st_ino
    await lua(running, reload)
    while running.prosody.admin_socket.exists() and running.prosody.admin_socket.stat().st_ino == before:
        await read(running)
    metrics = await read(running)
    assert metrics("prosody_up") == 1


async def test_without_mod_admin_shell_the_log_says_to_enable_it(lab: Lab) -> None:
    lab.prosody.config = 'modules_enabled = { "admin_socket"; "http_openmetrics"; "websocket"; "saslauth" }'
    lab.start(lab.prosody, lab.prosody_exporter)
    assert_down(lab, await read(lab), "error_answer", "enable mod_admin_shell")


async def test_statistics_off_costs_only_prosodys_own_metrics(lab: Lab) -> None:
    lab.prosody.config = "statistics = false; statistics_interval = false"
    lab.start(lab.prosody, lab.prosody_exporter)
    metrics = await settled(lab)
    assert metrics("prosody_up") == 1
    assert metrics("prosody_c2s_sessions") == 0
    assert not [name for name in metrics.names if name.startswith("prosody_mod_")]


async def test_a_short_time_to_log_in_is_no_fault_of_the_probes_connection(lab: Lab) -> None:
    lab.prosody.config = "c2s_timeout = 3"
    lab.start(lab.prosody, lab.prosody_exporter)
    metrics = await settled(lab)
    while metrics("prosody_websocket_ping_seconds_count") < 3:
        await asyncio.sleep(1)
        metrics = await read(lab)
    told = {"connection-timeout": 1, "probe_closed": 1}  # of the connection that was there before the first scrape
    errors = metrics.by("prosody_connection_errors_total", "reason")
    assert errors in ({}, told)


async def test_the_worst_names_and_labels_cost_nothing(running: Lab) -> None:
    async with traffic_on(running) as traffic:
        (user,) = await traffic.accounts(1)
        worst = traffic.client(user)
        worst.resource = "quote\" back\\slash <&> 'x' é"
        await worst.login()
        traffic.clients.append(worst)
        await traffic.hold(Mix(websocket=1))
        await lua(
            running,
            r'prosody.full_sessions["\1\"\n"] = select(2, next(prosody.full_sessions)) return 1',
        )
        await lua(
            running,
            r"""local registry = require "prosody.core.statsmanager".get_metric_registry();
            local family = registry:gauge("prosody_mod_worst__label", "", "Help with \\ and\nnew line", {"name"});
            for _, value in ipairs { "\1\2", "q\"uote", "back\\slash", "new\nline", "broken \255 utf8" } do
                family:with_labels(value):set(1);
            end
            return 1""",
        )
        metrics = await read(running)
        await lua(running, r'prosody.full_sessions["\1\"\n"] = nil return 1')
    assert metrics("prosody_up") == 1
    assert metrics("prosody_c2s_sessions") == 2
    assert metrics("prosody_exporter_registry_families_left_out") == 0
    labels = {s.labels["name"] for s in metrics.samples if s.name == "prosody_mod_worst__label"}
    assert {'q"uote', "back\\slash", "new\nline"} < labels
    assert len(labels) == 5


async def test_without_the_counting_script_prosodys_own_metrics_remain_and_the_log_names_the_missing(lab: Lab) -> None:
    flags = lab.prosody_exporter.flags
    lab.prosody_exporter.flags = lambda: [*flags(), "--prosody.instrument=off"]
    lab.start(lab.prosody, lab.prosody_exporter)
    metrics = await read(lab)
    missing = missing_families(instrument=False, probe=True)
    assert "prosody_c2s_sessions" in missing
    assert not metrics.names & set(missing)
    assert {"prosody_up", "prosody_memory_used_bytes", "prosody_setting", "prosody_info"} < metrics.names
    assert await lua(lab, 'return tostring(package.loaded["commeazy.monitoring"])') == "nil"
    log = lab.prosody_exporter.log.read_text()
    assert all(name in log for name in missing)


async def test_promtool_finds_nothing_to_say_beyond_what_the_specification_fixed(running: Lab) -> None:
    promtool = shutil.which("promtool")
    assert promtool
    async with traffic_on(running) as traffic:
        await traffic.hold(Mix(websocket=2, tcp=1, away=1))
        metrics = await read(running)
    check = await asyncio.create_subprocess_exec(promtool, "check", "metrics", stdin=PIPE, stderr=PIPE)
    _, complaints = await check.communicate(metrics.text.encode())
    assert complaints.decode() == ""


async def test_no_log_line_holds_a_users_name_or_address(running: Lab) -> None:
    async with traffic_on(running) as traffic:
        await traffic.hold(Mix(websocket=2, tcp=1, failed_logins=1))
        metrics = await read(running)
        running.prosody.kill()
        await read(running)
        log = running.prosody_exporter.log.read_text()
        for client in traffic.clients:
            assert client.username not in metrics.text
            assert client.username not in log
