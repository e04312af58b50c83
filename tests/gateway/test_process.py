"""The program as systemd runs it: settings, signals, a violent end, and credentials that are fixed while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import aiohttp
import pytest

from gateway.handler import QUEUE
from lab.fakes.providers import Providers
from lab.running.server import Workspace
from lab.running.workspace import ROOT
from lab.servers.gateway import SECRET, PushGateway
from tests.gateway.conftest import ANDROID, IPHONE

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def lab() -> Iterator[Workspace]:
    with Workspace() as lab:
        yield lab


@pytest.fixture
def providers(lab: Workspace) -> Providers:
    providers = Providers(lab)
    providers.start()
    return providers


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(
        [sys.executable, "-m", "gateway"], env=env, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("environment", "code", "line"),
    [
        ({}, 1, "PUSH_SECRET is not set"),
        ({"PUSH_SECRET": " "}, 1, "PUSH_SECRET is not set"),
        ({"PUSH_SECRET": "CHANGE_ME"}, 2, "PUSH_SECRET is still CHANGE_ME"),
        ({"PUSH_SECRET": "x", "LOG_LEVEL": "loud\nand clear"}, 2, r"LOG_LEVEL=loud\nand clear: must be one of"),
        ({"PUSH_SECRET": "x", "HOST": "\x1b[31m..b"}, 2, r"HOST=\x1b[31m..b: must be a host name"),
        ({"PUSH_SECRET": "x", "RATE_LIMIT": "9" * 5000}, 2, "9...: must be a whole number"),
        ({"PUSH_SECRET": "x", "FCM_URL": "https://me:hidden@x"}, 2, "FCM_URL: must be https://host"),
        (
            {"PUSH_SECRET": "x", "METRICS_WEB_CONFIG_FILE": "/no/such/file"},
            2,
            "METRICS_WEB_CONFIG_FILE: /no/such/file: No",
        ),
        ({"PUSH_SECRET": "x", "PORT": "http"}, 2, "PORT=http: must be a whole number"),
        ({"PUSH_SECRET": "x", "PORT": "70000"}, 2, "PORT=70000"),
        ({"PUSH_SECRET": "x", "RATE_LIMIT": "-1"}, 2, "RATE_LIMIT=-1"),
        ({"PUSH_SECRET": "x", "HANDLERS": "voip,sms"}, 2, "HANDLERS=voip,sms"),
        ({"PUSH_SECRET": "x", "LOG_LEVEL": "loud"}, 2, "must be one of debug, info, warn, error"),
        ({"PUSH_SECRET": "x", "APNS_ENVIRONMENT": "test"}, 2, "must be one of production, sandbox"),
        ({"PUSH_SECRET": "x", "METRICS_LISTEN_ADDRESS": "9874"}, 2, "must be host:port or :port"),
        ({"PUSH_SECRET": "x", "FCM_URL": "http://x"}, 2, "FCM_URL=http://x: must be https://host"),
        ({"PUSH_SECRET": "x", "APNS_URL": "https://a..b"}, 2, "APNS_URL=https://a..b: must be https://host"),
        ({"PUSH_SECRET": "x", "HOST": "a..b"}, 2, "HOST=a..b: must be a host name or an address"),
        ({"PUSH_SECRET": "x", "METRICS_LISTEN_ADDRESS": f"{'a' * 64}:9874"}, 2, "must be host:port or :port"),
        (
            {"PUSH_SECRET": "x", "HOST": "203.0.113.1", "METRICS_LISTEN_ADDRESS": "127.0.0.1:0"},
            1,
            "cannot listen on 203.0",
        ),
    ],
)
def test_a_wrong_setting_is_one_line_and_an_exit_code(environment: dict[str, str], code: int, line: str) -> None:
    ended = run(**environment)
    assert ended.returncode == code
    (written,) = ended.stderr.splitlines()
    assert line in written
    assert "hidden" not in written
    if code == 2 or "SECRET" in line:
        assert written.startswith("push-gateway: ")


async def push(session: aiohttp.ClientSession, gateway: PushGateway, node: str, kind: str) -> tuple[int, str | None]:
    body = {"node": node, "secret": SECRET, "type": kind, "jid": "bert@commeazy.com"}
    async with session.post(f"{gateway.url}/push", json=body) as answer:
        return answer.status, answer.headers.get("Push-Outcome")


def health(gateway: PushGateway) -> dict[str, object]:
    with urllib.request.urlopen(f"{gateway.url}/health", timeout=60) as answer:
        found: dict[str, object] = json.load(answer)
    return found


async def test_sigterm_under_load_loses_nothing_that_was_accepted(lab: Workspace) -> None:
    providers = Providers(lab, delay=0.2)
    providers.start()
    gateway = PushGateway(lab, providers, settings={"RATE_LIMIT": "0"})
    gateway.start()
    answers: list[tuple[int, str | None]] = []
    stopping = False

    async def caller(session: aiohttp.ClientSession, number: int) -> None:
        """Push after push, until the gateway is gone; none may be left without an answer before that."""
        while True:
            try:
                answer = await push(session, gateway, f"{number:064x}", "call")
            except aiohttp.ClientConnectionError:
                assert stopping
                return
            answers.append(answer)
            if answer[0] == 503:
                return

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        callers = [asyncio.create_task(caller(session, number)) for number in range(50)]
        while len(answers) < 100:
            await asyncio.sleep(0.01)
        stopping = True
        os.kill(gateway.pid, signal.SIGTERM)
        await asyncio.gather(*callers)
    gateway.stop()  # raises if its exit code is not 0
    accepted = [outcome for status, outcome in answers if status == 200]
    assert set(accepted) == {"sent"}
    assert {status for status, _ in answers} == {200, 503}
    assert len(accepted) == len(providers.received("apns"))


async def test_full_queues_leave_files_for_everything_else(lab: Workspace, providers: Providers) -> None:
    """Each push that waits holds a connection of its caller's. Without a limit of its own a service gets 1,024."""
    units = [unit.read_text() for unit in (ROOT / "deploy/systemd").glob("push-gateway*.service")]
    limits = [re.search(r"^LimitNOFILE=(\d+)$", unit, re.MULTILINE) for unit in units]
    files = min(int(limit[1]) if limit else 1024 for limit in limits)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"https://localhost:{mute.getsockname()[1]}"  # TLS that never answers
        gateway = LimitedGateway(lab, providers, settings={"RATE_LIMIT": "0", "APNS_URL": url})
        gateway.files = files
        gateway.start()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            calls = [asyncio.create_task(push(session, gateway, IPHONE, "call")) for _ in range(QUEUE)]
            async with asyncio.timeout(60):
                while f'push_inflight{{handler="voip"}} {QUEUE}.0' not in await metrics(session, gateway):
                    await asyncio.sleep(0.05)
            idle = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(100)]
            assert await push(session, gateway, ANDROID, "message") == (200, "sent")
            for call in calls:
                call.cancel()
            for _, writer in idle:
                writer.close()
        assert "Too many open files" not in gateway.log.read_text()
        gateway.kill()


async def test_connections_to_prometheus_port_that_say_nothing_take_no_call_away(
    lab: Workspace, providers: Providers
) -> None:
    """Clients of :9874 must not be able to stop /push, however few files the process may open."""
    gateway = LimitedGateway(lab, providers, settings={"RATE_LIMIT": "0"})
    gateway.files = 400
    gateway.start()
    half_open = []
    for _ in range(500):
        stranger = socket.create_connection(("127.0.0.1", gateway.metrics_port))
        stranger.sendall(b"GET /metrics HTTP/1.1\r\nHost:")
        half_open.append(stranger)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        calls = await asyncio.gather(*(push(session, gateway, IPHONE, "call") for _ in range(100)))
        assert set(calls) == {(200, "sent")}
        async with session.get(f"http://127.0.0.1:{gateway.metrics_port}/metrics") as answer:
            assert answer.status == 200
    for stranger in half_open:
        stranger.close()
    assert "Too many open files" not in gateway.log.read_text()
    assert len(gateway.log.read_text().splitlines()) < 200


class LimitedGateway(PushGateway):
    """One that may open no more files than its unit allows."""

    files = 0

    def command(self) -> list[str]:
        return ["prlimit", f"--nofile={self.files}", *super().command()]


async def test_after_kill_9_it_starts_again_and_delivers(lab: Workspace, providers: Providers) -> None:
    """Section 12, Fault Isolation; how long a start takes, `make demo` prints."""
    gateway = PushGateway(lab, providers)
    gateway.start()
    gateway.kill()
    gateway.start()
    async with aiohttp.ClientSession() as session:
        assert await push(session, gateway, IPHONE, "call") == (200, "sent")


async def test_a_bad_key_stops_its_handler_only_and_sighup_takes_the_repaired_one(
    lab: Workspace, providers: Providers
) -> None:
    good = providers.key_path.read_text()
    providers.key_path.write_text("not a key")
    gateway = PushGateway(lab, providers)
    gateway.start()
    async with aiohttp.ClientSession() as session:
        assert await push(session, gateway, ANDROID, "message") == (200, "sent")
        assert await push(session, gateway, IPHONE, "call") == (200, "unavailable")
        assert health(gateway)["apns"] == "unavailable"
        assert f"{providers.key_path}: no ES256 private key" in gateway.log.read_text()
        providers.key_path.write_text(good)
        os.kill(gateway.pid, signal.SIGHUP)
        async with asyncio.timeout(60):
            while health(gateway)["apns"] != "connected":
                await asyncio.sleep(0.02)
        assert await push(session, gateway, IPHONE, "call") == (200, "sent")


async def test_a_bad_service_account_stops_its_handler_only_and_sighup_takes_the_repaired_one(
    lab: Workspace, providers: Providers
) -> None:
    good = providers.account_path.read_text()
    providers.account_path.write_text(json.dumps({**json.loads(good), "project_id": None}))
    providers.account_path.chmod(0o644)
    gateway = PushGateway(lab, providers)
    gateway.start()
    async with aiohttp.ClientSession() as session:
        assert await push(session, gateway, IPHONE, "call") == (200, "sent")
        async with asyncio.timeout(60):
            while f"{providers.account_path}: no service account" not in gateway.log.read_text():
                await asyncio.sleep(0.02)
        assert await push(session, gateway, ANDROID, "message") == (200, "unavailable")
        assert f'fix="chmod 600 {providers.account_path}"' in gateway.log.read_text()
        providers.account_path.write_text(good)
        os.kill(gateway.pid, signal.SIGHUP)
        async with asyncio.timeout(60):
            while health(gateway)["fcm"] != "initialized":
                await asyncio.sleep(0.02)
        assert await push(session, gateway, ANDROID, "message") == (200, "sent")


async def test_sighup_with_the_same_key_makes_no_second_token(lab: Workspace, providers: Providers) -> None:
    """Apple allows one in 20 minutes."""
    gateway = PushGateway(lab, providers)
    gateway.start()
    async with aiohttp.ClientSession() as session:
        assert (await push(session, gateway, IPHONE, "call"))[1] == "sent"
        os.kill(gateway.pid, signal.SIGHUP)
        async with asyncio.timeout(60):
            while "push_token_renewals_total" not in (found := await metrics(session, gateway)) or not {
                'push_token_renewals_total{handler="voip",result="ok"} 2.0'
            } & set(found.splitlines()):
                await asyncio.sleep(0.02)
        assert (await push(session, gateway, IPHONE, "call"))[1] == "sent"
    first, second = providers.received("apns")
    assert first["token"] == second["token"]


async def metrics(session: aiohttp.ClientSession, gateway: PushGateway) -> str:
    async with session.get(f"{gateway.url}/metrics") as answer:
        return await answer.text()


async def test_two_processes_run_one_handler_each(lab: Workspace, providers: Providers) -> None:
    """The specification's variant for more than 50,000 users."""
    voip = PushGateway(lab, providers, "voip", {"HANDLERS": "voip"})
    fcm = PushGateway(lab, providers, "fcm", {"HANDLERS": "fcm"})
    voip.start()
    fcm.start()
    assert (health(voip)["apns"], health(voip)["fcm"]) == ("connected", "disabled")
    assert (health(fcm)["apns"], health(fcm)["fcm"]) == ("disabled", "initialized")
    async with aiohttp.ClientSession() as session:
        assert (await push(session, voip, IPHONE, "call"))[1] == "sent"
        assert (await push(session, fcm, ANDROID, "message"))[1] == "sent"
