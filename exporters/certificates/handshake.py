"""One TLS handshake over an open connection, to see which certificates a server sends. It trusts and judges nothing.

pyOpenSSL rather than `ssl`, which gives the chain of an untrusted server only from Python 3.13 on. OpenSSL works on
memory; asyncio moves the bytes, counted, so a hostile server costs a timeout and a few kilobytes.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from OpenSSL import SSL

from exporters.certificates.certificate import UNREADABLE, Certificate
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    import asyncio

MAX_BYTES = 192 * 1024  # of one handshake; OpenSSL itself refuses a certificate message above 100 kB
MAX_CHAIN = 10  # certificates; public chains have two to four
_CHUNK = 16 * 1024
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")  # alert, handshake: how whatever speaks TLS begins


async def handshake(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server_name: str, *, below_1_2: bool = False
) -> tuple[tuple[Certificate, ...], bool]:
    """Shake hands, whatever the certificates are worth, and say goodbye.

    Args:
        reader: from where the server begins to speak TLS.
        writer: to the server.
        server_name: SNI; "" for none.
        below_1_2: offer TLS 1.0 and 1.1 only.

    Returns:
        The chain as sent, the leaf first, and whether the version agreed upon is below TLS 1.2.

    Raises:
        TargetError: "closed", "not_tls", "handshake", "too_much_data", "no_certificate", "bad_certificate" or
            "chain_too_long".
    """
    connection = SSL.Connection(_context(below_1_2=below_1_2), None)
    connection.set_connect_state()
    if server_name:
        connection.set_tlsext_host_name(server_name.encode("ascii"))
    await _converse(connection, reader, writer)
    chain = _chain(connection)
    with suppress(SSL.Error):
        connection.shutdown()
        _send(connection, writer)
    return chain, connection.get_protocol_version() < SSL.TLS1_2_VERSION


@cache
def _context(*, below_1_2: bool) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    # Level 0: a server with a weak key, digest or version must still show its dates; `verdict` says that it is weak.
    context.set_cipher_list(b"ALL:!aNULL:@SECLEVEL=0")
    context.set_min_proto_version(SSL.TLS1_VERSION)
    if below_1_2:
        context.set_max_proto_version(SSL.TLS1_1_VERSION)
    return context


async def _converse(connection: SSL.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    beginning, received = b"", 0
    while True:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            _send(connection, writer)  # the alert, so that the server's log has a reason, too
            raise _failed(error, beginning) from None
        else:
            _send(connection, writer)
            return
        _send(connection, writer)
        data = await reader.read(_CHUNK)
        if not data:
            raise TargetError("closed", "the server closed the connection during the TLS handshake; see its log")
        beginning = beginning or data[:2]
        received += len(data)
        if received > MAX_BYTES:
            raise TargetError("too_much_data", f"more than {MAX_BYTES} bytes and still no end of the TLS handshake")
        connection.bio_write(data)


def _send(connection: SSL.Connection, writer: asyncio.StreamWriter) -> None:
    with suppress(SSL.WantReadError):  # nothing more to send
        while True:
            writer.write(connection.bio_read(_CHUNK))


def _failed(error: SSL.Error, beginning: bytes) -> TargetError:
    if not any(record.startswith(beginning) for record in _TLS_RECORDS):
        return TargetError("not_tls", "the server does not speak TLS here; check address and kind")
    # OpenSSL's own words, from its table of errors: nothing the server could have written.
    causes = [cause for _, _, cause in error.args[0]] if error.args else []
    if "excessive message size" in causes:
        return TargetError("too_much_data", "a TLS message of the server, its certificates perhaps, is above 100 kB")
    return TargetError("handshake", f"the TLS handshake failed: {causes[0] if causes else 'no reason given'}")


def _chain(connection: SSL.Connection) -> tuple[Certificate, ...]:
    try:
        chain = connection.get_peer_cert_chain(as_cryptography=True)
    except (*UNREADABLE, SSL.Error):
        raise TargetError("bad_certificate", "a certificate of the server cannot be parsed") from None
    if not chain:
        raise TargetError("no_certificate", "the server sent no certificate")
    if len(chain) > MAX_CHAIN:
        raise TargetError("chain_too_long", f"the server sends {len(chain)} certificates; {MAX_CHAIN} are the limit")
    return tuple(Certificate.read(certificate) for certificate in chain)
