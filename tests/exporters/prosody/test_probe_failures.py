"""The WebSocket probe against endpoints that fail in every way an endpoint can: each has its reason."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from exporters.prosody.probe import WebSocketProbe
from tests.exporters.prosody.endpoints import (
    AT_ONCE,
    NEVER,
    Endpoint,
    aborting,
    aborting_the_handshake,
    closing_in_trouble,
    counted,
    ending_the_stream,
    forbidding,
    plain,
    ponging,
    silent,
    speaking_chat,
    stuck,
)
from tests.toolkit.authority import Authority

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aiohttp import web

    from tests.exporters.prosody.conftest import Lines


async def one_failure(url: str, lines: Lines, reason: str, seen: str, *, patience: float = 5) -> None:
    """Check that the first attempt fails with this reason, is counted once, and is logged in one line."""
    probe = WebSocketProbe(url, interval=NEVER, timeout=patience)
    async with probe.running():
        line = await lines.queue.get()
    assert line.startswith(f"WARNING the WebSocket probe fails on {url}: {reason} ({seen}); ")
    assert counted(probe) == {reason: 1}
    assert sum(probe.observations.round_trips.counts) == 0
    assert lines.queue.empty()


@pytest.mark.parametrize(
    ("handler", "reason", "seen"),
    [
        (forbidding, "probe_handshake", "HTTP status 403"),
        (plain, "probe_handshake", "HTTP status 200"),
        (speaking_chat, "probe_handshake", "it does not speak the WebSocket protocol xmpp"),
        (aborting, "probe_closed", "the connection was closed"),
        (aborting_the_handshake, "probe_closed", "closed during the handshake"),
        (closing_in_trouble, "probe_closed", "the connection was closed"),
        (ending_the_stream, "probe_closed", "stream error connection-timeout"),
    ],
)
async def test_an_endpoint_that_misbehaves_has_its_reason(
    lines: Lines, handler: Callable[[Endpoint, web.Request], Awaitable[web.StreamResponse]], reason: str, seen: str
) -> None:
    async with Endpoint(handler).listening() as url:
        await one_failure(url, lines, reason, seen)


@pytest.mark.parametrize(("handler", "seen"), [(stuck, "no connection in 1 s"), (silent, "no answer in 1 s")])
async def test_an_endpoint_that_says_nothing_is_a_timeout(
    lines: Lines, handler: Callable[[Endpoint, web.Request], Awaitable[web.StreamResponse]], seen: str
) -> None:
    async with Endpoint(handler).listening() as url:
        await one_failure(url, lines, "probe_timeout", seen, patience=1)


async def test_a_port_nobody_listens_on_refuses(lines: Lines) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/xmpp-websocket"
        await one_failure(url, lines, "probe_refused", "connection refused")


async def test_a_host_that_does_not_exist_is_unreachable(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)  # a resolver may take its time to say so
    await one_failure("http://localhost.invalid/xmpp-websocket", lines, "probe_unreachable", "no way to connect")


def tls(tmp_path: Path) -> ssl.SSLContext:
    """A server's context; its authority is written beside its certificate."""
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    authority = Authority("nobody trusts")
    authority.issue("127.0.0.1", certificate, key)
    authority.write(tmp_path / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_certificate_that_nobody_trusts_is_a_tls_error(lines: Lines, tmp_path: Path) -> None:
    async with Endpoint(ponging).listening(tls(tmp_path)) as url:
        await one_failure(url, lines, "probe_tls", "unable to get local issuer certificate")


async def test_a_certificate_of_another_name_is_a_tls_error(lines: Lines, tmp_path: Path) -> None:
    server = tls(tmp_path)
    async with Endpoint(ponging).listening(server) as url:
        probe = WebSocketProbe(url, host="chat.example", authority=tmp_path / "authority.pem", interval=NEVER)
        async with probe.running():
            line = await lines.queue.get()
    assert "probe_tls (Hostname mismatch" in line
    assert "--prosody.websocket-host" in line
    assert counted(probe) == {"probe_tls": 1}


async def test_an_https_endpoint_is_reached_with_its_authority(lines: Lines, tmp_path: Path) -> None:
    server, authority = tls(tmp_path), tmp_path / "authority.pem"
    hosts = []

    async def noting_the_host(endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        hosts.append(request.headers["Host"])
        return await ponging(endpoint, request)

    endpoint = Endpoint(noting_the_host)
    async with endpoint.listening(server) as url:
        probe = WebSocketProbe(url, authority=authority, interval=AT_ONCE)
        async with probe.running():
            await endpoint.pinged_twice()
    assert counted(probe) == {}
    assert hosts == [url.split("/")[2]]
    assert lines.queue.empty()


async def test_tls_to_a_port_that_speaks_none_is_a_tls_error(lines: Lines) -> None:
    async with Endpoint(ponging).listening() as url:
        await one_failure(url.replace("http:", "https:"), lines, "probe_tls", "no TLS handshake")
