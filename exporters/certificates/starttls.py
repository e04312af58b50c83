"""Asks a server to begin TLS: XMPP's STARTTLS and PostgreSQL's SSLRequest. It does not do the handshake."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from exporters.certificates.wire import Wire

    Answer = TypeVar("Answer")

_MAX_BYTES = 16 * 1024  # of a server's plaintext; Prosody's features take 200
_NAMESPACES = {"xmpp-client": "jabber:client", "xmpp-server": "jabber:server"}
_STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
# A reserved domain (RFC 2606). A federating server wants to know who connects before it offers anything.
_FROM = "certificate-exporter.invalid"
# Text and not an XML parser: RFC 6120 11.1 forbids comments and DTDs, 4.8.5 fixes the prefix `stream`, and a parser
# would be one more thing for a hostile server to attack.
_AFTER_NAME = tuple(bytes([byte]) for byte in b" \t\r\n/>")
_CONDITION = re.compile(rb"<([a-z-]{1,40})\s")
_CONDITIONS = frozenset({  # RFC 6120 4.9.3
    "bad-format", "bad-namespace-prefix", "conflict", "connection-timeout", "host-gone", "host-unknown",
    "improper-addressing", "internal-server-error", "invalid-from", "invalid-namespace", "invalid-xml",
    "not-authorized", "not-well-formed", "policy-violation", "remote-connection-failed", "reset",
    "resource-constraint", "restricted-xml", "see-other-host", "system-shutdown", "undefined-condition",
    "unsupported-encoding", "unsupported-feature", "unsupported-stanza-type", "unsupported-version",
})  # fmt: skip


async def begin(kind: str, server_name: str, wire: Wire) -> None:
    """Bring a new connection to the point where the TLS handshake begins; does nothing for kind "tls".

    Raises:
        TargetError: "starttls_refused", "stream_error", "protocol", "too_much_data" or "closed".
    """
    if kind == "postgresql":
        await _postgresql(wire)
    elif kind in _NAMESPACES:
        await _xmpp(_NAMESPACES[kind], server_name, wire)


async def _xmpp(namespace: str, domain: str, wire: Wire) -> None:
    """RFC 6120 5.4.2. `domain` is a host name of the configuration, so there is nothing to escape."""
    caller = f" from='{_FROM}'" if namespace == "jabber:server" else ""
    header = (
        f"<?xml version='1.0'?><stream:stream xmlns='{namespace}' xmlns:stream='http://etherx.jabber.org/streams'"
        f" to='{domain}'{caller} version='1.0'>"
    )
    await wire.write(header.encode())
    if not await _answer(wire, offers_starttls):
        raise TargetError(
            "starttls_refused", "the server does not offer STARTTLS; has it a certificate for the domain?"
        )
    await wire.write(_STARTTLS)
    if not await _answer(wire, may_proceed):
        raise TargetError("starttls_refused", "the server refused STARTTLS; see its log")


async def _answer(wire: Wire, understand: Callable[[bytes], bool | None]) -> bool:
    received = b""
    while len(received) <= _MAX_BYTES:
        data = await wire.read(4096)
        if not data:
            raise TargetError("closed", "the server closed the connection before TLS")
        received += data
        # Parsed only when a tag ends, so that a server that sends byte by byte costs no parse for each byte.
        if b">" not in data and received.lstrip().startswith(b"<"):
            continue
        answer = understand(received)
        if answer is not None:
            return answer
    raise TargetError("too_much_data", f"more than {_MAX_BYTES} bytes and still no answer to STARTTLS")


def offers_starttls(received: bytes) -> bool | None:
    """Tell whether the stream features have STARTTLS, None while they are not complete.

    Raises:
        TargetError: "stream_error", or "protocol" for what is not XMPP.
    """
    _look_for_error(received)
    features = _element(received, b"stream:features")
    return None if features is None else b"urn:ietf:params:xml:ns:xmpp-tls" in features


def may_proceed(received: bytes) -> bool | None:
    """Tell whether the server wants TLS now, None while it has not answered; raises as `offers_starttls`."""
    _look_for_error(received)
    if _element(received, b"proceed") is not None:
        return True
    return False if _start(received, b"failure") else None


def _look_for_error(received: bytes) -> None:
    error = _element(received, b"stream:error")
    if error is not None:
        said = next((name for name in _CONDITION.findall(error) if name.decode() in _CONDITIONS), b"no known reason")
        raise TargetError(
            "stream_error", f"the server ended the XMPP stream: {said.decode()}; is server_name a domain it serves?"
        )
    if not received.lstrip().startswith(b"<"):
        raise TargetError("protocol", "the answer is not XMPP; is this the right port?")


def _element(received: bytes, name: bytes) -> bytes | None:
    """Return the content of the first element of this name, None while it is not complete.

    Each byte is read a bounded number of times. With one expression for the whole element, a server that sent many
    start tags and no end tag kept the program busy.
    """
    tag = _start(received, name)
    if tag is None:
        return None
    begin, end = tag
    if received[begin:end].endswith(b"/>"):
        return b""
    close = received.find(b"</" + name, end)
    return received[end:close] if close >= 0 and received.find(b">", close) >= 0 else None


def _start(received: bytes, name: bytes) -> tuple[int, int] | None:
    """Return where the first start tag of this name begins and ends."""
    at = -1
    while (at := received.find(b"<" + name, at + 1)) >= 0:
        if received[at + 1 + len(name) :][:1] in _AFTER_NAME:
            end = received.find(b">", at)
            return (at, end + 1) if end >= 0 else None
    return None


async def _postgresql(wire: Wire) -> None:
    """Send SSLRequest (PostgreSQL's documentation, 55.2.11 "SSL Session Encryption")."""
    await wire.write(struct.pack("!ii", 8, 80877103))
    answer = await wire.read(1)
    if answer == b"N":
        raise TargetError("starttls_refused", "PostgreSQL has no TLS; set ssl = on")
    if not answer:
        raise TargetError("closed", "the server closed the connection before TLS")
    if answer != b"S":
        raise TargetError("protocol", "the answer is not PostgreSQL's; is this the right port?")
