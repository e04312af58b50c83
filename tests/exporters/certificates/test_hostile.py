"""Hostile servers cost a timeout and a few kilobytes, and each kind has its own reason."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from exporters.certificates.client import REASONS, CertificateClient
from exporters.certificates.collector import label
from exporters.certificates.handshake import BELOW_1_2, CIPHER
from exporters.certificates.starttls import may_proceed, offers_starttls
from lab.servers.pki import Authority, Issued
from tests.exporters.certificates.fakes import HOST, server, silence, target, tls
from toolkit.names import Names
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.exporters.certificates.fakes import Handler

MEGABYTE = 1 << 20
ENDLESS = 100 * MEGABYTE
# TLS 1.2, no session, ECDHE-RSA-AES128-GCM-SHA256, secure renegotiation (RFC 5246 7.4.1.3, RFC 5746 3.4)
_SERVER_HELLO = (
    b"\x16\x03\x03\x00\x31\x02\x00\x00\x2d\x03\x03" + bytes(32) + b"\x00\xc0\x2f\x00\x00\x05\xff\x01\x00\x01\x00"
)
_HEADER = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0'>"
_TLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
_FEATURES = f"<stream:features>{_TLS}</stream:features>".encode()


def _records(message: bytes) -> bytes:
    return b"".join(b"\x16\x03\x03\x00\x01" + bytes([byte]) for byte in message)


async def failure(handler: Handler, kind: str = "tls", *, within: float = 5.0) -> str:
    """Probe a server that fails us; returns the reason."""
    async with server(handler) as port:
        with pytest.raises(TargetError) as caught:
            await CertificateClient().observe(target(port, kind, timeout=within), None)
    assert "\n" not in str(caught.value)
    assert caught.value.reason in REASONS
    return caught.value.reason


def saying(*answers: bytes) -> Handler:
    """Answer each thing that is sent with the next of these, then wait."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(65536)
            writer.write(answer)
        await silence(reader, writer)

    return handler


def flooding(begin: bytes, chunk: bytes) -> tuple[Handler, list[int]]:
    """Send 100 MB as fast as it is taken; the list gets how much was."""
    taken: list[int] = []

    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        sent = 0
        try:
            while sent < ENDLESS:
                writer.write(chunk)
                await writer.drain()
                sent += len(chunk)
        finally:
            taken.append(sent)

    return handler, taken


@pytest.mark.parametrize("kind", ["tls", "xmpp-client", "xmpp-server", "postgresql"])
async def test_a_server_that_never_answers_is_a_timeout(kind: str) -> None:
    assert await failure(silence, kind, within=0.2) == "timeout"


@pytest.mark.parametrize("kind", ["tls", "xmpp-client"])
async def test_a_server_that_sends_byte_by_byte_is_a_timeout(kind: str) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The beginning of a TLS record of 16 kB, or of a stream header that never ends.
        for byte in itertools.chain(b"\x16\x03\x03\x40\x00\x02" if kind == "tls" else b"<", itertools.repeat(0x20)):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)  # the drip itself

    assert await failure(drip, kind, within=0.4) == "timeout"


@pytest.mark.parametrize(
    ("kind", "begin", "chunk", "reason"),
    [
        ("tls", b"", b"\x00" * 65536, "not_tls"),
        ("tls", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x" * 65536, "not_tls"),
        # Well-formed TLS: a handshake message that says it is 16 MB long, in records of 16 kB.
        ("tls", b"", (b"\x16\x03\x03\x40\x00" + b"\x02\xff\xff\xff" + b"\x00" * 16380) * 4, "too_much_data"),
        # A certificate message just below OpenSSL's own limit, in records of one byte.
        ("tls", _SERVER_HELLO + _records(b"\x0b\x01\x8f\xf0"), _records(bytes(8192)), "too_much_data"),
        ("xmpp-client", b"<stream:stream>", b" " * 65536, "too_much_data"),
        ("xmpp-server", b"", b"\x00" * 65536, "protocol"),
        ("postgresql", b"S", b"\x00" * 65536, "not_tls"),
        ("postgresql", b"H", b"\x00" * 65536, "protocol"),
    ],
)
async def test_a_flood_before_the_handshake_is_cut_off(kind: str, begin: bytes, chunk: bytes, reason: str) -> None:
    handler, taken = flooding(begin, chunk)
    tracemalloc.start()
    try:
        assert await failure(handler, kind) == reason
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 * MEGABYTE
    assert taken[0] < ENDLESS / 4  # what the kernel's own buffers took


async def test_garbage_is_not_tls() -> None:
    assert await failure(saying(bytes(range(256)))) == "not_tls"


async def test_a_server_that_hangs_up_is_closed() -> None:
    async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(100)

    assert await failure(hang_up) == "closed"
    assert await failure(hang_up, "xmpp-client") == "closed"
    assert await failure(hang_up, "postgresql") == "closed"


async def test_a_closed_port_is_refused() -> None:
    async with server(silence) as port:
        pass
    with pytest.raises(TargetError, match="does the server run") as caught:
        await CertificateClient().observe(target(port), None)
    assert caught.value.reason == "refused"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "dns"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable"),
        (OSError("Multiple exceptions: [Errno 111] ..., [Errno 101] ..."), "unreachable"),
    ],
)
async def test_a_host_that_cannot_be_had_is_reported(
    monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    async def no_connection(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Names, "find", no_connection)  # what a network without that host answers
    with pytest.raises(TargetError) as caught:
        await CertificateClient().observe(target(443), None)
    assert caught.value.reason == reason
    assert "127.0.0.1:443" in str(caught.value)


async def test_an_alert_in_place_of_a_handshake_is_a_failed_handshake() -> None:
    unrecognized_name = b"\x15\x03\x03\x00\x02\x02\x70"
    assert await failure(saying(unrecognized_name)) == "handshake"


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([_HEADER + b"<stream:features/>"], "starttls_refused"),
        ([_HEADER + _FEATURES, b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"], "starttls_refused"),
        ([_HEADER + b"<stream:error><host-unknown xmlns='x'/></stream:error></stream:stream>"], "stream_error"),
        ([_HEADER + _FEATURES, b"<stream:error><policy-violation xmlns='x'/></stream:error>"], "stream_error"),
        ([b"220 mail.example ESMTP\r\n"], "protocol"),
        ([_HEADER + _FEATURES, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", b"plain"], "not_tls"),
    ],
)
async def test_what_xmpp_servers_refuse(answers: list[bytes], reason: str) -> None:
    assert await failure(saying(*answers), "xmpp-client") == reason


async def test_a_stream_error_is_named_only_if_the_rfc_knows_it() -> None:
    said = _HEADER + b"<stream:error><host-unknown xmlns='x'/></stream:error>"
    for answer, words in ((said, "host-unknown"), (said.replace(b"host-unknown", b"evil-words"), "no known reason")):
        async with server(saying(answer)) as port:
            with pytest.raises(TargetError, match=words):
                await CertificateClient().observe(target(port, "xmpp-client"), None)


async def test_postgresql_without_tls_refuses() -> None:
    assert await failure(saying(b"N"), "postgresql") == "starttls_refused"


async def test_ssl_request_is_what_postgresql_documents() -> None:
    sent: list[bytes] = []

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await reader.readexactly(8))
        writer.write(b"N")

    assert await failure(record, "postgresql") == "starttls_refused"
    assert sent == [struct.pack("!iHH", 8, 1234, 5679)]


@pytest.mark.parametrize(("length", "reason"), [(100, "chain_too_long"), (2000, "too_much_data")])
async def test_a_very_long_chain_is_refused(length: int, reason: str) -> None:
    authority = Authority("Root")
    leaf = authority.issue(HOST)
    async with server(
        silence, tls(Issued(leaf.certificate, leaf.key, (authority.certificate,) * (length - 1)))
    ) as port:
        with pytest.raises(TargetError) as caught:
            await CertificateClient().observe(target(port), None)
    assert caught.value.reason == reason


async def test_a_hostile_subject_becomes_a_harmless_label() -> None:
    evil = 'a"b\\c\n\r\x00\x1b[31m\u202e' + "x" * 30
    async with server(silence, tls(Authority("Root").issue(HOST, common_name=evil))) as port:
        seen = await CertificateClient().observe(target(port), None)

    (leaf,) = seen.chains[""].certificates
    assert leaf.subject_cn == evil
    assert label(leaf.subject_cn) == "a?b?c????[31m?" + "x" * 30
    assert len(label("y" * 1000)) == 64


async def test_a_server_that_hangs_when_asked_for_old_tls_still_shows_its_dates() -> None:
    connections = itertools.count()
    context = tls(Authority("Root").issue(HOST))

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(connections) == 0:
            await writer.start_tls(context)
        await silence(reader, writer)

    async with server(once) as port:
        seen = await CertificateClient().observe(target(port, timeout=0.5), None)
    assert len(seen.chains[""].certificates) == 1
    assert seen.weak == {}
    assert seen.failure is None


async def test_a_server_that_is_silent_when_asked_for_old_tls_and_answers_again_does_not_accept_it() -> None:
    connections = itertools.count()
    context = tls(Authority("Root").issue(HOST))

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(connections) != 1:
            await writer.start_tls(context)
        await silence(reader, writer)

    async with server(handler) as port:
        seen = await CertificateClient().observe(target(port, timeout=2), None)
    assert seen.weak == {BELOW_1_2: False, CIPHER: True}


@pytest.mark.parametrize("understand", [offers_starttls, may_proceed])
@pytest.mark.parametrize(
    "part",
    [b"<stream:features ", b"<stream:features>", b"<stream:error>", b"<proceed ", b"<proceed>", b"<failure ", b"<"],
)
def test_a_hostile_answer_to_starttls_costs_no_more_than_its_length(
    understand: Callable[[bytes], bool | None], part: bytes
) -> None:
    """A mebibyte takes milliseconds; with a cost that grows with the square of the length a test runs out of time."""
    understand((part * (1 << 20))[: 1 << 20])
