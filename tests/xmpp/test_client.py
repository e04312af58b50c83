"""What the XMPP client does without a real server: cutting streams, writing stanzas, giving up in time."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from xml.etree import ElementTree as ET

import aiohttp
import pytest

from xmpp.client import XmppClient
from xmpp.elements import MAX_ELEMENT, ElementStream, number, parse_frame, stanza
from xmpp.errors import (
    ConnectionEndedError,
    DeadlineError,
    NameNotFoundError,
    ProtocolError,
    RefusedError,
    TlsError,
    UpgradeError,
    XmppError,
)
from xmpp.transport import Endpoints, unverified
from xmpp.websocket import http_session

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


def test_what_is_not_xml_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="malformed"):
        ElementStream().feed("HTTP/1.1 400 Bad Request\r\n")


def test_a_frame_with_an_undeclared_stream_prefix_is_read() -> None:
    element = parse_frame("<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
    assert element is not None
    assert element.tag == "{http://etherx.jabber.org/streams}error"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<a><b></a>", "malformed"),
        ("</stream:stream><a/>", "malformed"),
        ("<!DOCTYPE a [<!ENTITY b 'bbbb'>]><a>&b;</a>", "document type"),
    ],
)
def test_a_frame_that_is_no_element_is_a_protocol_error(text: str, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        parse_frame(text)


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
        client = XmppClient(mute_server, "user", "secret", http=http, timeout=0.1)
        with pytest.raises(DeadlineError, match=r"could not log in within 0\.1 s"):
            await client.login(transport)  # type: ignore[arg-type]  # parametrize knows no Literal


@pytest.mark.parametrize("transport", ["websocket", "tcp"])
async def test_a_port_nobody_listens_on_is_one_clear_error(transport: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoints = Endpoints("example.org", f"ws://127.0.0.1:{port}/", "127.0.0.1", port)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(RefusedError, match=f"^{transport} connection failed: connection refused$"):
            await XmppClient(endpoints, "user", "secret", http=http).login(transport)  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("cut", [64, 4096])
@pytest.mark.parametrize("start", ["<message>", "<message a='", "<message><body>"])
def test_an_element_that_never_ends_is_given_up_before_it_fills_the_memory(start: str, cut: int) -> None:
    stream = ElementStream()
    stream.feed(HEADER + start)

    def feed_forever() -> None:
        for _ in range(MAX_ELEMENT // cut + 1):
            stream.feed("x" * cut)

    with pytest.raises(ProtocolError, match="more than"):
        feed_forever()


def test_many_small_elements_are_not_taken_for_a_large_one() -> None:
    stream = ElementStream()
    stream.feed(HEADER)
    message = "<message><body>" + "x" * 1000 + "</body></message>"
    assert sum(len(stream.feed(message)) for _ in range(2 * MAX_ELEMENT // 1000)) == 2 * MAX_ELEMENT // 1000


def test_white_space_between_elements_may_come_forever() -> None:
    stream = ElementStream()
    stream.feed(HEADER)
    for _ in range(3):
        stream.feed(" " * (MAX_ELEMENT - 1))


def test_entities_cannot_multiply() -> None:
    with pytest.raises(ProtocolError, match="document type"):
        ElementStream().feed("<!DOCTYPE a [<!ENTITY b 'bbbb'>]><a>&b;</a>")


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "9" * 40, "\u0661"])
def test_a_number_that_is_none_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError, match="no number as h of a"):
        number(ET.fromstring(f"<a h='{text}'/>"), "h")


@contextlib.asynccontextmanager
async def http_server(answer: bytes) -> AsyncIterator[int]:
    """Answer every connection with these bytes and close it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(answer)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", UpgradeError, "HTTP status 503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", UpgradeError, "HTTP status 200"),
        (b"SSH-2.0-OpenSSH\r\n", UpgradeError, "websocket connection failed"),
        (b"", ConnectionEndedError, "the server broke it"),
    ],
)
async def test_what_answers_the_door_without_being_one_is_a_typed_error(
    answer: bytes, error: type[XmppError], text: str
) -> None:
    async with http_server(answer) as port, http_session() as http:
        client = XmppClient(Endpoints("example.org", f"ws://127.0.0.1:{port}/"), "user", "secret", http=http)
        with pytest.raises(error, match=text) as raised:
            await client.login()
        assert str(port) not in str(raised.value)
        assert "tcp" in client.stages


async def test_a_name_nobody_has_is_told_apart() -> None:
    async with http_session() as http:
        client = XmppClient(Endpoints("example.org", "ws://nobody.invalid/"), "user", "secret", http=http)
        with pytest.raises(NameNotFoundError):
            await client.login()


async def test_a_door_without_tls_is_a_tls_error() -> None:
    async with http_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port, http_session() as http:
        server = Endpoints("localhost", f"wss://127.0.0.1:{port}/", tls=unverified())
        with pytest.raises(TlsError):
            await XmppClient(server, "user", "secret", http=http).login()
