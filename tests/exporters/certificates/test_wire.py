"""The connection of a probe, on a pair of sockets; test_hostile.py has what real peers do to it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from exporters.certificates.client import CertificateClient
from exporters.certificates.wire import Wire
from lab.servers.pki import Authority
from tests.exporters.certificates.fakes import HOST, server, target, tls

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)  # noqa: FBT003 - its only argument
    theirs.settimeout(5)
    with ours, theirs:
        yield ours, theirs


async def test_the_goodbye_is_sent_before_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    Wire(ours).close(b"goodbye")
    assert theirs.recv(100) == b"goodbye"
    assert theirs.recv(100) == b""


async def test_a_goodbye_for_which_there_is_no_room_is_not_waited_for(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    with suppress(BlockingIOError):
        while True:
            ours.send(bytes(65536))
    Wire(ours).close(b"goodbye")
    received = b"".join(iter(lambda: theirs.recv(1 << 20), b""))
    assert b"goodbye" not in received


async def test_a_peer_that_has_gone_shows_at_the_next_read(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    wire = Wire(ours)
    await wire.write(b"hello")
    assert await wire.read(100) == b""


async def test_a_message_that_does_not_fit_at_once_is_sent_as_a_whole(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    message = bytes(1 << 20)
    writing = asyncio.create_task(Wire(ours).write(message))
    received = 0
    while received < len(message):
        await asyncio.sleep(0)
        received += len(theirs.recv(1 << 16))
    await writing


async def test_a_server_sees_every_handshake_to_its_end() -> None:
    """What would be a failed handshake in its log."""
    completed = asyncio.Event()

    async def handler(*_: object) -> None:
        completed.set()

    # Where a client speaks last.
    context = tls(Authority("Root").issue(HOST), minimum=ssl.TLSVersion.TLSv1_3)
    async with server(handler, context) as port:
        await CertificateClient().observe(target(port), None)
        async with asyncio.timeout(5):
            await completed.wait()
