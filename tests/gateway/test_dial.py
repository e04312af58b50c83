"""Which address is connected to when a name has several, and some of them do not answer."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.dial import STAGGER
from tests.gateway.conftest import Pki, Start, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.fakes.apns import FakeApns


@contextlib.contextmanager
def silent(addresses: list[str], port: int) -> Iterator[None]:
    """Let these addresses drop every SYN: their queues of connections that nobody accepts are full."""
    with contextlib.ExitStack() as stack:
        for address in addresses:
            listener = stack.enter_context(socket.create_server((address, port), backlog=0))
            for _ in range(3):
                client = stack.enter_context(socket.socket())
                client.settimeout(0)
                client.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield


def resolve_to(monkeypatch: pytest.MonkeyPatch, addresses: list[str], port: int) -> None:
    """Let the name of the server on `port` have these addresses."""
    real = socket.getaddrinfo

    def resolve(host: str, service: int, *rest: int, **more: int) -> list[Any]:
        if service == port:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
        return real(host, service, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


async def test_addresses_that_do_not_answer_cost_little_and_only_once(
    start: Start, apple: FakeApns, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = [f"127.0.0.{number}" for number in range(2, 9)]
    resolve_to(monkeypatch, [*dead, "127.0.0.1"], apple.port)
    with silent(dead, apple.port):
        began = time.monotonic()
        caller = await start()
        assert time.monotonic() - began < 2 * len(dead) * STAGGER  # one after the other took 17 s
        began = time.monotonic()
        apple.live[0].kill()
        await until(lambda: len(apple.connections) == 2)
        assert time.monotonic() - began < STAGGER  # the address that worked is tried first
        assert (await caller.push()).outcome == "sent"


async def test_an_address_that_accepts_but_never_speaks_is_tried_last_from_then_on(
    start: Start, apple: FakeApns, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.2", apple.port)) as silent_one:
        resolve_to(monkeypatch, ["127.0.0.2", "127.0.0.1"], apple.port)
        caller = await start(workings={"connect_timeout": 0.8})
        silent_one.settimeout(0)
        silent_one.accept()[0].close()
        for count in (2, 3):
            apple.live[0].kill()
            await until(lambda count=count: len(apple.connections) == count)  # type: ignore[misc]
        with pytest.raises(BlockingIOError):
            silent_one.accept()
        assert (await caller.push()).outcome == "sent"


async def test_a_server_without_http2_is_named_as_such(start: Start, pki: Pki, apple: FakeApns) -> None:
    apple._context = pki.server_context("http/1.1")
    port = apple.port
    await apple.stop()
    await apple.start(port)
    caller = await start(ready=False)
    failures = caller.gateway.metrics.handlers["voip"].connection_failures
    await until(lambda: failures["no_http2"] > 0)
