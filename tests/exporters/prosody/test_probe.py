"""The WebSocket probe while its connection lasts: pings, closes, new connections, what it logs."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from exporters.prosody.probe import WebSocketProbe
from tests.exporters.prosody.endpoints import (
    AT_ONCE,
    NEVER,
    SHORT,
    Endpoint,
    accept,
    closing_orderly,
    closing_the_stream_while_idle,
    counted,
    forbidding,
    offering,
    pinging_first,
    pong_on,
    ponging,
    silent,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from tests.exporters.prosody.conftest import Lines


async def test_a_stream_closed_while_the_probe_rests_is_no_error(lines: Lines) -> None:
    endpoint = Endpoint(closing_the_stream_while_idle, ponging)
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=SHORT)
        async with probe.running():
            await endpoint.pinged_twice()
    assert endpoint.connections == 2
    assert counted(probe) == {}
    assert lines.queue.empty()


@pytest.mark.parametrize("handler", [ponging, pinging_first])
async def test_every_pong_is_measured_on_one_connection(
    lines: Lines, handler: Callable[[Endpoint, web.Request], Awaitable[web.StreamResponse]]
) -> None:
    endpoint = Endpoint(handler)
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=AT_ONCE)
        async with probe.running():
            await endpoint.pinged_twice()
    trips = probe.observations.round_trips
    assert sum(trips.counts) >= 1
    assert trips.sum > 0
    assert counted(probe) == {}
    assert endpoint.connections == 1
    assert lines.queue.empty()


async def test_the_connection_ends_with_the_probe() -> None:
    async with AsyncExitStack() as stack:
        ended = asyncio.Event()

        async def until_closed(endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
            answer = await ponging(endpoint, request)
            ended.set()
            return answer

        endpoint = Endpoint(until_closed)
        url = await stack.enter_async_context(endpoint.listening())
        async with WebSocketProbe(url, interval=AT_ONCE).running():
            await endpoint.pinged_twice()
        await ended.wait()


async def test_the_probe_ends_though_the_endpoint_hangs_and_takes_no_leave() -> None:
    released = asyncio.Event()

    async def hanging_after_a_pong(_: Endpoint, request: web.Request) -> web.StreamResponse:
        answer = await accept(request)
        await answer.pong((await answer.receive()).data)
        await released.wait()
        return answer

    async with Endpoint(hanging_after_a_pong).listening() as url:
        probe = WebSocketProbe(url, interval=NEVER, timeout=NEVER)
        async with asyncio.timeout(60) as patience, probe.running():
            while not sum(probe.observations.round_trips.counts):  # noqa: ASYNC110 - the probe announces nothing
                await asyncio.sleep(0)
        released.set()
    assert not patience.expired()


async def test_an_orderly_close_is_no_error_and_a_new_connection_follows(lines: Lines) -> None:
    endpoint = Endpoint(closing_orderly, ponging)
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=AT_ONCE)
        async with probe.running():
            await endpoint.pinged_twice()
    assert endpoint.connections == 2
    assert counted(probe) == {}
    assert lines.queue.empty()


async def test_a_new_connection_is_made_before_prosody_ends_one_that_never_logs_in(lines: Lines) -> None:
    endpoint = Endpoint(ponging)
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=AT_ONCE)
        probe.c2s_timeout = SHORT
        async with asyncio.timeout(60), probe.running():
            while endpoint.connections < 3:  # noqa: ASYNC110 - the probe announces nothing
                await asyncio.sleep(0)
    assert sum(probe.observations.round_trips.counts) >= 3
    assert counted(probe) == {}
    assert lines.queue.empty()


async def test_an_endpoint_that_always_closes_is_not_hammered(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, pauses = Endpoint(closing_orderly), asyncio.Queue[tuple[float, int]]()

    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        if seconds == 7:
            pauses.put_nowait((seconds, endpoint.connections))
        await sleep(0)

    async with endpoint.listening() as url:
        monkeypatch.setattr("exporters.prosody.probe.asyncio.sleep", pause)
        async with WebSocketProbe(url, interval=7).running():
            assert [await pauses.get() for _ in range(3)] == [(7, 1), (7, 2), (7, 3)]
        monkeypatch.undo()


async def test_the_mechanisms_that_are_offered_are_counted_for_each_host_in_turn(lines: Lines) -> None:
    endpoint = Endpoint(offering("PLAIN", "SCRAM-SHA-1"), offering())
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=AT_ONCE)
        probe.c2s_timeout = SHORT
        probe.look_at(("chat.example", "other.example"))
        async with probe.running():
            line = await lines.queue.get()
            assert probe.observations.login_mechanisms == {"chat.example": 2, "other.example": 0}
            async with asyncio.timeout(60):
                while endpoint.connections < 4:  # noqa: ASYNC110 - the probe announces nothing
                    await asyncio.sleep(0)
    assert line == (
        f"WARNING nobody can log in to other.example over {url}: it offers no SASL mechanism; "
        "set consider_websocket_secure = true if TLS ends at a proxy, and restart Prosody"
    )
    assert counted(probe)["probe_no_login"] >= 1
    probe.look_at(("chat.example",))
    assert set(probe.observations.login_mechanisms) == {"chat.example"}


async def test_a_host_that_offers_logins_again_is_logged_once(lines: Lines) -> None:
    endpoint = Endpoint(offering(), offering(), offering("PLAIN"))
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=AT_ONCE)
        probe.c2s_timeout = SHORT
        probe.look_at(("chat.example",))
        async with probe.running():
            told = [await lines.queue.get() for _ in range(2)]
    assert told[0].startswith("WARNING nobody can log in to chat.example")
    assert told[1] == f"INFO chat.example offers logins over {url} again"
    assert counted(probe) == {"probe_no_login": 2}


async def test_a_ping_during_which_the_exporter_itself_stood_still_is_not_prosodys(lines: Lines) -> None:
    async def stopping_the_exporter(endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        answer = await accept(request)
        message = await answer.receive()
        time.sleep(1.5)  # noqa: ASYNC251 - to stop the probe, which runs in this program too
        await answer.pong(message.data)
        return await pong_on(endpoint, answer)

    endpoint = Endpoint(stopping_the_exporter, ponging)
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=AT_ONCE, timeout=1.2)
        async with probe.running():
            await endpoint.pinged_twice()
    assert counted(probe) == {}
    assert probe.observations.round_trips.counts[-3:] == [0, 0, 0]  # none above a second
    assert lines.queue.empty()


@pytest.mark.parametrize(("handler", "reason"), [(forbidding, "probe_handshake"), (silent, "probe_timeout")])
async def test_a_lasting_failure_and_its_end_are_logged_once(
    lines: Lines, handler: Callable[[Endpoint, web.Request], Awaitable[web.StreamResponse]], reason: str
) -> None:
    endpoint = Endpoint(handler, handler, handler, ponging)
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=AT_ONCE, timeout=0.3 if handler is silent else 60)
        async with probe.running():
            await endpoint.pinged_twice()
    assert set(counted(probe)) == {reason}
    assert counted(probe)[reason] >= 3  # more if this machine was too busy to answer in time
    failure, recovery = [lines.queue.get_nowait() for _ in range(lines.queue.qsize())]
    assert failure.startswith(f"WARNING the WebSocket probe fails on {url}: {reason} ")
    assert recovery == f"INFO the WebSocket probe reaches {url} again"
