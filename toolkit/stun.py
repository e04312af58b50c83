"""Encodes and decodes the STUN and TURN messages of the probe (RFC 8489, RFC 8656). No socket, no timer, no media.

It exists because aioice, the maintained library for TURN, brings a whole ICE agent with mDNS (4.6 MB resident, a tenth
of this exporter's budget), abandons an allocation without releasing it when an answer is lost, and cannot send ORIGIN,
which marks the probe's sessions in coturn's log.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from os import urandom
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

COOKIE = 0x2112A442
HEADER = struct.Struct("!HHI12s")
FINGERPRINT_XOR = 0x5354554E
UDP_RELAY = bytes((17, 0, 0, 0))  # REQUESTED-TRANSPORT: IANA protocol number, three reserved bytes
TCP_RELAY = bytes((6, 0, 0, 0))  # RFC 6062, over TCP and TLS only
IPV6_RELAY = bytes((2, 0, 0, 0))  # REQUESTED-ADDRESS-FAMILY: 2 is IPv6, three reserved bytes


class Method(IntEnum):
    """RFC 8489 section 18.2, RFC 8656 section 17."""

    BINDING = 0x001
    ALLOCATE = 0x003
    REFRESH = 0x004
    CREATE_PERMISSION = 0x008
    SEND = 0x016  # an indication, like the next: it has no answer
    DATA = 0x017


class Attribute(IntEnum):
    """RFC 8489 section 18.3, RFC 8656 section 18; ORIGIN is draft-johnston-tram-stun-origin, which coturn has."""

    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    LIFETIME = 0x000D
    XOR_PEER_ADDRESS = 0x0012
    DATA = 0x0013
    REALM = 0x0014
    NONCE = 0x0015
    XOR_RELAYED_ADDRESS = 0x0016
    REQUESTED_ADDRESS_FAMILY = 0x0017
    REQUESTED_TRANSPORT = 0x0019
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    ORIGIN = 0x802F


class MalformedError(ValueError):
    """The bytes are not a STUN message."""


@dataclass(frozen=True)
class Credentials:
    """Long-term credentials (RFC 8489 section 9.2), complete once the server's challenge gave realm and nonce."""

    username: str
    password: str
    realm: bytes = b""
    nonce: bytes = b""

    @property
    def key(self) -> bytes:
        """The HMAC key: MD5 over username, realm and password."""
        text = b":".join((self.username.encode(), self.realm, self.password.encode()))
        return hashlib.md5(text, usedforsecurity=False).digest()  # the RFC's choice, not ours


@dataclass(frozen=True)
class StunResponse:
    """A response as it came in."""

    method: int
    success: bool
    transaction: bytes
    attributes: dict[int, bytes]

    @property
    def error(self) -> int:
        """The error code, 0 for a success response."""
        value = self.attributes.get(Attribute.ERROR_CODE, b"")
        return 0 if self.success or len(value) < 4 else (value[2] & 7) * 100 + value[3]  # noqa: PLR2004  # RFC 8489 section 14.8

    @property
    def software(self) -> str:
        """The server's name for itself, e.g. "Coturn-4.6.1 'Gorst'"; empty if it is configured not to send one."""
        return self.attributes.get(Attribute.SOFTWARE, b"").rstrip(b"\0").decode("utf-8", "replace")

    @property
    def relay_port(self) -> int:
        """The port of XOR-RELAYED-ADDRESS, 0 when there is none."""
        value = self.attributes.get(Attribute.XOR_RELAYED_ADDRESS, b"")
        return int(int.from_bytes(value[2:4]) ^ COOKIE >> 16) if len(value) >= 8 else 0  # noqa: PLR2004  # RFC 8489 section 14.2


def encode(
    method: Method, attributes: Sequence[tuple[Attribute, bytes]], credentials: Credentials | None = None
) -> tuple[bytes, bytes]:
    """A request or indication with a fresh transaction id: (transaction id, message), signed with credentials."""
    transaction = urandom(12)
    pairs = list(attributes)
    if credentials:
        pairs += [
            (Attribute.USERNAME, credentials.username.encode()),
            (Attribute.REALM, credentials.realm),
            (Attribute.NONCE, credentials.nonce),
        ]
    body = b"".join(_attribute(kind, value) for kind, value in pairs)
    if credentials:
        body += _attribute(Attribute.MESSAGE_INTEGRITY, _integrity(method, transaction, body, credentials.key))
    crc = zlib.crc32(HEADER.pack(method, len(body) + 8, COOKIE, transaction) + body) ^ FINGERPRINT_XOR
    body += _attribute(Attribute.FINGERPRINT, crc.to_bytes(4))
    return transaction, HEADER.pack(method, len(body), COOKIE, transaction) + body


def length(header: bytes) -> int:
    """Return how many bytes of a message follow its header of 20 bytes on a stream (RFC 8489 section 6.2.2).

    Raises:
        MalformedError: the header is no STUN header.
    """
    kind, size, cookie, _ = HEADER.unpack(header)
    if kind & 0xC000 or cookie != COOKIE or size % 4:
        raise MalformedError("not a STUN message")
    return int(size)


def decode(message: bytes, credentials: Credentials | None = None) -> StunResponse:
    """One response. With credentials, one that the server signed (or an error that it need not sign: 401, 438).

    Raises:
        MalformedError: not a STUN response, cut short, or signed with another key.
    """
    if len(message) < HEADER.size or length(message[: HEADER.size]) != len(message) - HEADER.size:
        raise MalformedError("not a STUN message")
    kind, _, _, transaction = HEADER.unpack_from(message)
    if not kind & 0x0100:
        raise MalformedError("not a response")
    attributes: dict[int, bytes] = {}
    signed = False
    at = HEADER.size
    while at + 4 <= len(message):
        name, size = struct.unpack_from("!HH", message, at)
        value = message[at + 4 : at + 4 + size]
        if credentials and name == Attribute.MESSAGE_INTEGRITY:
            expected = _integrity(kind, transaction, message[HEADER.size : at], credentials.key)
            signed = hmac.compare_digest(value, expected)
        attributes.setdefault(name, value)
        at += 4 + size + -size % 4
    response = StunResponse(kind & 0x3EEF, not kind & 0x0010, transaction, attributes)
    if credentials and not signed and response.error not in {401, 438}:
        raise MalformedError("the answer is not signed with the shared secret")
    return response


def relayed(message: bytes) -> tuple[bytes, bytes] | None:
    """Read a Data indication (RFC 8656 section 11): the peer, as XOR-PEER-ADDRESS holds it, and what it sent.

    Returns None for any other message, and for one that is malformed.
    """
    if len(message) < HEADER.size or message[:2] != Method.DATA.to_bytes(2):
        return None
    attributes: dict[int, bytes] = {}
    at = HEADER.size
    while at + 4 <= len(message):
        name, size = struct.unpack_from("!HH", message, at)
        attributes.setdefault(name, message[at + 4 : at + 4 + size])
        at += 4 + size + -size % 4
    peer, data = attributes.get(Attribute.XOR_PEER_ADDRESS), attributes.get(Attribute.DATA)
    return None if peer is None or data is None else (peer, data)


def _attribute(kind: Attribute, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def _integrity(kind: int, transaction: bytes, body: bytes, key: bytes) -> bytes:
    # RFC 8489 section 14.5: over all before it, with a length that already counts the 24 bytes of the attribute itself
    return hmac.digest(key, HEADER.pack(kind, len(body) + 24, COOKIE, transaction) + body, "sha1")
