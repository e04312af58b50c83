"""The gateway against HTTP/2 that shares no code with it: Node's, nghttpd's, nginx's and HAProxy's.

They are strict where our own fakes are not, and they are what stands before real services.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from lab.running.server import Server, Workspace, tcp_accepts
from lab.running.workspace import ROOT
from tests.gateway.conftest import ANDROID, Pki, Start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
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


class Peer(Server):
    """A server of others that speaks HTTP/2; it runs inside the context.

    Args:
        lab: where it runs.
        arguments: what to run for a port.
        says: what it prints once it listens; None if it accepts connections then.
    """

    def __init__(self, lab: Workspace, arguments: Callable[[int], list[str]], says: str | None = None) -> None:
        super().__init__(lab, "peer")
        self.port = lab.ports.reserve()
        self._arguments = arguments
        self._says = says

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return self._arguments(self.port)

    def is_ready(self) -> bool:
        return tcp_accepts(self.port) if self._says is None else self._says in self.log.read_text(encoding="utf-8")

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        self.start()
        yield
        assert not self.crashed, self.obituary()
        self.kill()


@pytest.fixture
def lab() -> Iterator[Workspace]:
    with Workspace() as lab:
        yield lab


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
async def test_node_gets_every_call_once(start: Start, pki: Pki, lab: Workspace, options: dict[str, object]) -> None:
    files = (f"{pki.directory}/server.crt", f"{pki.directory}/server.key")
    script = str(ROOT / "lab/fakes/node_apns.js")
    runs = [program("node"), script, json.dumps(options), *files]
    node = Peer(lab, lambda port: [*runs, str(port)], "listening")
    with node.serving():
        caller = await start(HANDLERS="voip", APNS_URL=f"https://localhost:{node.port}")
        nodes = [f"{number:064x}" for number in range(CALLS)]
        answers = await asyncio.gather(*(caller.push(one) for one in nodes))
        assert {answer.outcome for answer in answers} == {"sent"}
    lines = node.log.read_text(encoding="utf-8").splitlines()[1:]
    assert not [line for line in lines if "error" in line]
    assert sorted(line.split()[0].removeprefix("/3/device/") for line in lines) == nodes
    assert {int(line.split()[1]) for line in lines} == {len('{"aps":{},"type":"incoming-call","expires":1700000000}')}


@pytest.mark.parametrize(
    "options",
    [[], ["--header-table-size=0"], ["-w10"], ["-m2"]],
    ids=["default", "no table", "small window", "two streams"],
)
async def test_nghttpd_answers_every_request(
    start: Start, pki: Pki, lab: Workspace, tmp_path: Path, options: list[str]
) -> None:
    """It serves files: all answers are 404, which is enough to see that every request was understood."""
    files = (f"{pki.directory}/server.key", f"{pki.directory}/server.crt")
    runs = [program("nghttpd"), *options, f"--htdocs={tmp_path}", "-a127.0.0.1"]
    nghttpd = Peer(lab, lambda port: [*runs, str(port), *files])
    with nghttpd.serving():
        caller = await start(HANDLERS="voip", APNS_URL=f"https://localhost:{nghttpd.port}")
        answers = await asyncio.gather(*(caller.push() for _ in range(20)))
        assert {answer.outcome for answer in answers} == {"rejected"}
        samples = await caller.samples()
        assert samples['push_failures_total{handler="voip",reason="http_4xx"}'] == 20
        assert samples['push_connections_total{handler="voip"}'] == 1


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
    start: Start, google: FakeFcm, pki: Pki, lab: Workspace, front: str
) -> None:
    """Fronts change header tables, windows and limits, and say goodbye to connections that live long."""
    del google  # another one takes its place
    behind = Http1Fcm()
    async with behind.serving() as back:

        def arguments(port: int) -> list[str]:
            places = {"directory": lab.directory, "pki": pki.directory, "port": port, "back": back}
            if front == "nginx":
                (lab.directory / "conf").write_text(NGINX.format(**places))
                return [program("nginx"), "-p", str(lab.directory), "-c", str(lab.directory / "conf"), "-e", "stderr"]
            if front == "haproxy":
                both = (pki.directory / "server.crt").read_text() + (pki.directory / "server.key").read_text()
                (lab.directory / "both.pem").write_text(both)
                (lab.directory / "conf").write_text(HAPROXY.format(**places))
                return [program("haproxy"), "-db", "-f", str(lab.directory / "conf")]
            files = (f"{pki.directory}/server.key", f"{pki.directory}/server.crt")
            limits = ("--frontend-http2-window-size=1024", "--frontend-http2-max-concurrent-streams=4")
            return [program("nghttpx"), f"-f127.0.0.1,{port}", f"-b127.0.0.1,{back}", *limits, *files]

        server = Peer(lab, arguments)
        with server.serving():
            caller = await start(HANDLERS="fcm", FCM_URL=f"https://localhost:{server.port}")
            nodes = [f"{number:04}{ANDROID * 80}" for number in range(CALLS)]  # bodies above 2 KiB
            answers = await asyncio.gather(*(caller.push(one, "message") for one in nodes))
            assert {answer.outcome for answer in answers} == {"sent"}
    assert sorted(behind.tokens) == nodes
