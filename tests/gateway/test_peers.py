"""The gateway against HTTP/2 that shares no code with it: Node's, nghttpd's, nginx's and HAProxy's.

They are strict where our own fakes are not, and they are what stands before real services.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from lab.running.workspace import ROOT
from tests.gateway.conftest import ANDROID, Pki, Start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from lab.fakes.fcm import FakeFcm

CALLS = 120


def program(name: str) -> str:
    """Where a program is. In CI it must be there, elsewhere the test says what it leaves out."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed: the gateway is not tested against it")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a server; with `port`, until it accepts connections there."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 60
        while port is not None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None
            assert process.stdout is not None
            assert time.monotonic() < deadline, process.stdout.read()
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"settings": {"headerTableSize": 0}},
        {"settings": {"headerTableSize": 65536}},
        {"settings": {"initialWindowSize": 10}},
        {"settings": {"maxConcurrentStreams": 2}},
        {"settings": {"maxFrameSize": 16777215, "maxHeaderListSize": 4096}},
        {"goaway": 25},
    ],
    ids=json.dumps,
)
async def test_node_gets_every_call_once(start: Start, pki: Pki, options: dict[str, object]) -> None:
    files = (f"{pki.directory}/server.crt", f"{pki.directory}/server.key")
    script = str(ROOT / "lab/fakes/node_apns.js")
    with running([program("node"), script, json.dumps(options), *files]) as node:
        assert node.stdout is not None
        port = int(node.stdout.readline().split()[1])
        caller = await start(HANDLERS="voip", APNS_URL=f"https://localhost:{port}")
        nodes = [f"{number:064x}" for number in range(CALLS)]
        answers = await asyncio.gather(*(caller.push(one) for one in nodes))
        assert {answer.outcome for answer in answers} == {"sent"}
        node.terminate()
        lines = node.stdout.read().splitlines()
    assert not [line for line in lines if "error" in line]
    assert sorted(line.split()[0].removeprefix("/3/device/") for line in lines) == nodes
    assert {int(line.split()[1]) for line in lines} == {len('{"aps":{},"type":"incoming-call","expires":1700000000}')}


@pytest.mark.parametrize(
    "options",
    [[], ["--header-table-size=0"], ["-w10"], ["-m2"]],
    ids=["default", "no table", "small window", "two streams"],
)
async def test_nghttpd_answers_every_request(start: Start, pki: Pki, tmp_path: Path, options: list[str]) -> None:
    """It serves files: all answers are 404, which is enough to see that every request was understood."""
    port = free_port()
    files = (f"{pki.directory}/server.key", f"{pki.directory}/server.crt")
    command = [program("nghttpd"), "--verbose", *options, f"--htdocs={tmp_path}", "-a127.0.0.1", str(port), *files]
    with running(command, port) as server:
        caller = await start(HANDLERS="voip", APNS_URL=f"https://localhost:{port}")
        answers = await asyncio.gather(*(caller.push() for _ in range(20)))
        assert {answer.outcome for answer in answers} == {"rejected"}
        samples = await caller.samples()
        assert samples['push_failures_total{handler="voip",reason="http_4xx"}'] == 20
        assert samples['push_connections_total{handler="voip"}'] == 1
        server.terminate()


NGINX = """
daemon off; pid {directory}/nginx.pid; error_log stderr error;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {pki}/server.crt; ssl_certificate_key {pki}/server.key;
    client_body_buffer_size 8k; http2_body_preread_size 0; http2_max_concurrent_streams 4; keepalive_requests 30;
    location / {{ proxy_pass http://127.0.0.1:{back}; proxy_http_version 1.1; }}
  }}
}}
"""
HAPROXY = """
global
  log stderr local0 emerg
  tune.h2.initial-window-size 1024
  tune.h2.max-concurrent-streams 4
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 10s
frontend front
  bind 127.0.0.1:{port} ssl crt {directory}/both.pem alpn h2
  default_backend back
backend back
  server one 127.0.0.1:{back}
"""


class Http1Fcm:
    """What stands behind a front: answers every POST in HTTP/1.1 as FCM would, and keeps the tokens."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._send)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
        await runner.cleanup()

    async def _send(self, request: web.Request) -> web.Response:
        self.tokens.append((await request.json())["message"]["token"])
        return web.json_response({})


@pytest.mark.parametrize("front", ["nginx", "haproxy", "nghttpx"])
async def test_every_push_passes_a_front_once(
    start: Start, google: FakeFcm, pki: Pki, tmp_path: Path, front: str
) -> None:
    """Fronts change header tables, windows and limits, and say goodbye to connections that live long."""
    del google  # another one takes its place
    behind, port = Http1Fcm(), free_port()
    async with behind.serving() as back:
        places = {"directory": tmp_path, "pki": pki.directory, "port": port, "back": back}
        if front == "nginx":
            (tmp_path / "conf").write_text(NGINX.format(**places))
            command = [program("nginx"), "-p", str(tmp_path), "-c", str(tmp_path / "conf"), "-e", "stderr"]
        elif front == "haproxy":
            both = (pki.directory / "server.crt").read_text() + (pki.directory / "server.key").read_text()
            (tmp_path / "both.pem").write_text(both)
            (tmp_path / "conf").write_text(HAPROXY.format(**places))
            command = [program("haproxy"), "-db", "-f", str(tmp_path / "conf")]
        else:
            files = (f"{pki.directory}/server.key", f"{pki.directory}/server.crt")
            limits = ("--frontend-http2-window-size=1024", "--frontend-http2-max-concurrent-streams=4")
            command = [program("nghttpx"), f"-f127.0.0.1,{port}", f"-b127.0.0.1,{back}", *limits, *files]
        with running(command, port):
            caller = await start(HANDLERS="fcm", FCM_URL=f"https://localhost:{port}")
            nodes = [f"{number:04}{ANDROID * 80}" for number in range(CALLS)]  # bodies above 2 KiB
            answers = await asyncio.gather(*(caller.push(one, "message") for one in nodes))
            assert {answer.outcome for answer in answers} == {"sent"}
    assert sorted(behind.tokens) == nodes
