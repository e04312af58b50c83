"""What the lab's XMPP client does without a real server: cutting streams, writing stanzas, giving up in time."""

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from xmpp.client import Client, stanza
from xmpp.transport import ConnectionEndedError, ElementStream, Endpoints, XmppError, parse_frame

HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"


def test_elements_come_out_whole_however_the_bytes_were_cut() -> None:
    stream = ElementStream()
    found = [
        element
        for byte in f"{HEADER}<a><b/></a> <message>\u00e9</message>".encode()
        for element in stream.feed(bytes([byte]))
    ]
    assert [element.tag for element in found] == ["{jabber:client}a", "{jabber:client}message"]
    assert found[1].text == "\u00e9"
    assert not stream.ended
    stream.feed("</stream:stream>")
    assert stream.ended


def test_what_is_not_xml_ends_the_connection() -> None:
    with pytest.raises(ConnectionEndedError, match="malformed"):
        ElementStream().feed("HTTP/1.1 400 Bad Request\r\n")


def test_a_frame_with_an_undeclared_stream_prefix_is_read() -> None:
    element = parse_frame("<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
    assert element is not None
    assert element.tag == "{http://etherx.jabber.org/streams}error"


def test_a_whitespace_frame_holds_no_element() -> None:
    assert parse_frame(" ") is None


def test_a_stanza_names_its_namespace_and_escapes_its_attributes() -> None:
    assert (
        stanza("message", "<body/>", to="a&b@c", id="")
        == "<message xmlns='jabber:client' to=\"a&amp;b@c\"><body/></message>"
    )


@pytest.fixture
async def mute_server() -> AsyncIterator[Endpoints]:
    """Accept connections and never say a word."""
    writers = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield Endpoints("example.org", f"ws://127.0.0.1:{port}/xmpp-websocket", "127.0.0.1", port)
    for writer in writers:
        writer.close()
    server.close()


@pytest.mark.parametrize("transport", ["websocket", "tcp"])
async def test_a_server_that_says_nothing_is_given_up(mute_server: Endpoints, transport: str) -> None:
    async with aiohttp.ClientSession() as http:
        client = Client(mute_server, "user", "secret", http=http, timeout=0.1)
        with pytest.raises(XmppError, match=r"could not log in within 0\.1 s"):
            await client.login(transport)  # type: ignore[arg-type]  # parametrize knows no Literal


@pytest.mark.parametrize("transport", ["websocket", "tcp"])
async def test_a_port_nobody_listens_on_is_one_clear_error(transport: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoints = Endpoints("example.org", f"ws://127.0.0.1:{port}/", "127.0.0.1", port)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(XmppError, match=f"{transport} connection failed"):
            await Client(endpoints, "user", "secret", http=http).login(transport)  # type: ignore[arg-type]  # as above
