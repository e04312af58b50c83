"""One TLS handshake over an open connection, to see which certificates a server sends. It trusts and judges nothing.

pyOpenSSL rather than `ssl`, which gives the chain of an untrusted server only from Python 3.13 on. OpenSSL works on
memory; asyncio moves the bytes, counted, so a hostile server costs a timeout and a few kilobytes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from OpenSSL import SSL, crypto

from exporters.certificates.certificate import Certificate
from exporters.certificates.openssl import ask_for_key, prefer_quick_groups
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporters.certificates.wire import Wire

MAX_BYTES = 192 * 1024  # of one handshake; OpenSSL itself refuses a certificate message above 100 kB
MAX_CHAIN = 10  # certificates; public chains have two to four
_ALERTS_FOR_OURS = (
    "alert handshake failure",
    "alert bad certificate",
    "alert certificate required",
    "alert certificate unknown",
)
BELOW_1_2, CIPHER = "tls_below_1_2", "weak_cipher"
WEAK = (BELOW_1_2, CIPHER)  # what a context offers that no server should accept
# All that TLS 1.2 has, but for what has both forward secrecy and authenticated encryption; PSK and SRP need a secret.
_WEAK_CIPHERS = ":".join(
    (
        "ALL:eNULL:!PSK:!SRP",
        *(
            f"!{exchange}+{cipher}"
            for exchange in ("ECDHE", "DHE")
            for cipher in ("AESGCM", "CHACHA20", "AESCCM", "ARIAGCM")
        ),
        "@SECLEVEL=0",
    )
).encode()
_CHUNK = 16 * 1024
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")  # alert, handshake: the first bytes of anything that speaks TLS


@dataclass(frozen=True, slots=True)
class Handshake:
    """The result of a handshake.

    Args:
        certificates: the chain as sent, the leaf first; unreadable certificates after the leaf are left out.
        unreadable: how many were left out.
        below_1_2: whether the agreed version is below TLS 1.2.
        failure: why the handshake failed after the chain had arrived; None if it succeeded, or if it failed only
            because the server wants a client certificate.
    """

    certificates: tuple[Certificate, ...]
    unreadable: int
    below_1_2: bool
    failure: TargetError | None


async def handshake(
    wire: Wire,
    server_name: str,
    *,
    context: SSL.Context,
    known: Mapping[bytes, Certificate],
) -> Handshake:
    """Do a handshake, whether or not the certificates are valid, and close TLS.

    Args:
        wire: to the server, at the point where TLS begins; closed afterwards.
        server_name: SNI; "" for none.
        context: of `context`.
        known: certificates by their encoding that have been read before.

    Raises:
        TargetError: "closed", "not_tls", "handshake", "too_much_data", "no_certificate", "bad_certificate" or
            "chain_too_long".
    """
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    if server_name:
        connection.set_tlsext_host_name(server_name.encode("ascii"))
    failure: TargetError | None = None
    try:
        await _converse(connection, wire)
    except TargetError as error:
        # Up to TLS 1.2, a server that wants a client certificate sends its own certificates before it closes.
        if not connection.get_peer_cert_chain():
            raise
        failure = None if isinstance(error, _HandshakeError) and error.wants_ours else error
    certificates, unreadable = _chain(connection, known)
    with suppress(SSL.Error):
        connection.shutdown()
    wire.close(_to_send(connection))
    return Handshake(certificates, unreadable, connection.get_protocol_version() < SSL.TLS1_2_VERSION, failure)


@cache
def context(*, weak: str | None = None, key: str | None = None) -> SSL.Context:
    """Make a context that accepts everything that a server offers.

    Args:
        weak: of WEAK, what alone to offer: TLS 1.0 and 1.1, or the weak cipher suites of TLS 1.2; None for everything.
        key: of `openssl.KEYS`, the kind of key whose certificate the server should show; None lets it choose.
    """
    made = SSL.Context(SSL.TLS_CLIENT_METHOD)
    # Level 0: a server with a weak key, digest or version must still show its dates; `trust` says that it is weak.
    made.set_cipher_list(b"ALL:!aNULL:@SECLEVEL=0")
    made.set_min_proto_version(SSL.TLS1_VERSION)
    if weak == BELOW_1_2:
        made.set_max_proto_version(SSL.TLS1_1_VERSION)
    elif weak == CIPHER:
        made.set_cipher_list(_WEAK_CIPHERS)
        made.set_min_proto_version(SSL.TLS1_2_VERSION)
        made.set_max_proto_version(SSL.TLS1_2_VERSION)
    prefer_quick_groups(made)
    if key:
        ask_for_key(made, key)
    return made


class _HandshakeError(TargetError):
    """OpenSSL ended the handshake.

    Args:
        cause: OpenSSL's message from its table of errors, never a text from the server.
    """

    def __init__(self, cause: str) -> None:
        super().__init__("handshake", f"the TLS handshake failed: {cause}")
        # The alerts for a client without a certificate (RFC 5246 7.4.6, RFC 8446 4.4.2.4).
        self.wants_ours = any(alert in cause for alert in _ALERTS_FOR_OURS)


async def _converse(connection: SSL.Connection, wire: Wire) -> None:
    beginning, received = b"", 0
    while True:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            await wire.write(_to_send(connection))  # sends the alert, so that the server's log has a reason too
            raise _failed(error, beginning) from None
        else:
            return  # the last message goes with the goodbye
        await wire.write(_to_send(connection))
        data = await wire.read(_CHUNK)
        if not data:
            raise TargetError("closed", "the server closed the connection during the TLS handshake; see its log")
        beginning = beginning or data[:2]
        received += len(data)
        if received > MAX_BYTES:
            raise TargetError("too_much_data", f"more than {MAX_BYTES} bytes and still no end of the TLS handshake")
        connection.bio_write(data)


def _to_send(connection: SSL.Connection) -> bytes:
    """Return what TLS has to say now: in a handshake a few hundred bytes, and far less than can be read at once."""
    try:
        return connection.bio_read(_CHUNK)
    except SSL.WantReadError:  # nothing
        return b""


def _failed(error: SSL.Error, beginning: bytes) -> TargetError:
    if not any(record.startswith(beginning) for record in _TLS_RECORDS):
        return TargetError("not_tls", "the server does not speak TLS here; check address and kind")
    causes = [cause for _, _, cause in error.args[0]] if error.args else []
    if "excessive message size" in causes:
        return TargetError("too_much_data", "a TLS message of the server, its certificates perhaps, is above 100 kB")
    return _HandshakeError(causes[0] if causes else "no reason given")


def _chain(connection: SSL.Connection, known: Mapping[bytes, Certificate]) -> tuple[tuple[Certificate, ...], int]:
    sent = connection.get_peer_cert_chain()
    if not sent:
        raise TargetError("no_certificate", "the server sent no certificate")
    if len(sent) > MAX_CHAIN:
        raise TargetError("chain_too_long", f"the server sends {len(sent)} certificates; {MAX_CHAIN} are the limit")
    found: list[Certificate] = []
    for position, one in enumerate(sent):
        der = crypto.dump_certificate(crypto.FILETYPE_ASN1, one)
        try:
            found.append(known.get(der) or Certificate.read(one))
        except TargetError:
            if position == 0:
                raise
    return tuple(found), len(sent) - len(found)
