"""A DNS that hangs: the test users' tries end in time, wait for one lookup together, and relays share it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest

from exporters.synthetic.config import Relay
from exporters.synthetic.leg import Leg, RelayError, Way
from toolkit import names
from toolkit.names import Names
from xmpp.client import XmppClient
from xmpp.errors import DeadlineError, NameNotFoundError
from xmpp.transport import Endpoints
from xmpp.websocket import http_session

if TYPE_CHECKING:
    from collections.abc import Iterator

DOOR = Endpoints("commeazy.example", "ws://door.example:5280/xmpp-websocket")


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let every lookup hang until the event is set; then there is no such name."""
    over = threading.Event()

    def look_up(*_: object) -> NoReturn:
        over.wait()
        raise socket.gaierror(socket.EAI_NONAME, "no name")

    monkeypatch.setattr(names, "_look_up", look_up)
    yield over
    over.set()


def lookups() -> int:
    return sum(thread.name == "resolve" for thread in threading.enumerate())


async def test_logins_under_a_dns_that_hangs_end_in_time_and_share_one_lookup(silent: threading.Event) -> None:
    async with http_session(names=Names()) as http:
        clients = [XmppClient(DOOR, "user1", "password", http=http, timeout=0.2) for _ in range(30)]
        found = await asyncio.gather(*(client.login() for client in clients), return_exceptions=True)
        assert {type(error) for error in found} == {DeadlineError}
        assert lookups() == 1
        waiting = asyncio.create_task(XmppClient(DOOR, "user1", "password", http=http, timeout=60).login())
        await asyncio.sleep(0)
        silent.set()
        with pytest.raises(NameNotFoundError):
            await waiting


async def test_a_relay_without_a_name_is_a_fault_of_dns(silent: threading.Event) -> None:
    silent.set()
    relay = Relay("coturn1", "turn.example", 3478, 5349, "turn.example")
    way = Way(Names(), ssl.create_default_context())
    for transport in relay.transports:
        with pytest.raises(RelayError) as raised:
            await Leg.connect(relay, transport, way, lambda _, __: None)
        assert raised.value.reason == "dns"
