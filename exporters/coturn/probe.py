"""Does what a client does: a STUN Binding, and a TURN allocation that is released at once. It relays no media.

Its sessions carry a tag in user name and ORIGIN that only the holder of the shared secret can make, so that they can be
left out of what the log tells; the sockets of its allocations are remembered, so that they can be left out of what is
counted while they linger (coturn keeps a UDP allocation for about a second after its release).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import math
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from os import urandom
from typing import TYPE_CHECKING

from exporters.coturn.connection import connect
from toolkit import stun
from toolkit.stun import Attribute, Credentials, Method

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Mapping

    from exporters.coturn.connection import Connection
    from toolkit.stun import Response

_PATIENCE = 2.0  # seconds for everything on one connection
ENDING = 0.05  # seconds from a relay's closed socket until coturn has surely taken it out of its count
_FAREWELL = 0.5  # seconds for a release
_CREDENTIALS_LAST = 60  # seconds; an ephemeral user name is its time of expiry
_FORGOTTEN_AFTER = 660.0  # seconds; an allocation lasts 600 unless it is refreshed
_UNAUTHORIZED, _STALE_NONCE = 401, 438
REASONS = {401: "credentials", 486: "quota", 508: "ports"}  # STUN error codes an operator can do something about
ALL_REASONS = ("timeout", "refused", "tls", *REASONS.values(), "error")


@dataclass(frozen=True)
class Outcome:
    """How the last probe went: seconds from connecting to the last answer, or which of ALL_REASONS it failed for."""

    seconds: float = 0.0
    failure: str = ""


@dataclass
class _Owed:
    """An Allocate request, or its release, without an answer, on a connection whose closing releases nothing."""

    connection: Connection
    request: tuple[bytes, bytes]
    credentials: Credentials
    others: Collection[int]
    since: float


class Probe:
    """Probes one coturn, one round over every transport at a time.

    Args:
        host: an address coturn listens on.
        listeners: the port of each transport: udp, tcp, tls.
        secret: coturn's static-auth-secret; without one there is no TURN probe.
        sockets: lists all relay sockets there are, with their port, by inode.
        ipv6_relay: whether to ask for one; else it gets what a client gets that does not ask.

    Attributes:
        outcomes: by (probe, transport), of the last round; probe is "stun" or "turn".
        failures: all failures so far by (probe, transport, reason).
        bindings: STUN bindings answered so far.
        software: what the server called itself last.
        tag: the text the sessions of all probes with this secret carry.
        name: a text only the allocations of this one carry; it begins with the tag.
    """

    def __init__(
        self,
        host: str,
        listeners: Mapping[str, int],
        secret: str,
        sockets: Callable[[], Mapping[int, int]],
        *,
        ipv6_relay: bool = False,
    ) -> None:
        self._host = host
        self._listeners = listeners
        self._secret = secret
        self._sockets = sockets
        self._held: set[int] = set()
        self._others: Collection[int] = ()  # relay sockets that were there before a round: none of ours
        self._ended = -math.inf
        self._owed: list[_Owed] = []
        key = secret.encode() or urandom(16)
        self.tag = f"coturn-exporter-{hmac.digest(key, b'coturn-exporter', 'sha256').hex()[:16]}"
        self.name = f"{self.tag}-{urandom(4).hex()}"
        self._origin = (Attribute.ORIGIN, f"https://{self.tag}.invalid".encode())
        self._wanted = [
            self._origin,
            (Attribute.REQUESTED_TRANSPORT, stun.UDP_RELAY),
            *([(Attribute.REQUESTED_ADDRESS_FAMILY, stun.IPV6_RELAY)] if ipv6_relay else []),
        ]
        self.outcomes: dict[tuple[str, str], Outcome] = {}
        self.failures: dict[tuple[str, str, str], int] = {}
        self.bindings = 0
        self.software = ""

    async def round(self) -> None:
        """Probe every transport once; takes at most some 2.5 seconds, whatever the server does."""
        self._others = self._sockets().keys()
        await asyncio.gather(*(self._probe(transport, port) for transport, port in self._listeners.items()))

    def held(self, open_sockets: Container[int]) -> set[int]:
        """Which of these relay sockets (by inode) are the probe's own; others it had are closed, and forgotten."""
        still = {inode for inode in self._held if inode in open_sockets}
        if still != self._held:
            self._held = still
            self._ended = time.monotonic()
        return set(still)

    @property
    def has_just_ended(self) -> bool:
        """Whether a relay of the probe was seen to be gone only now, so that coturn may still count it."""
        return time.monotonic() - self._ended < ENDING

    async def settle(self) -> None:
        """Release what an unanswered request may have left behind; tried again until coturn answers."""
        for owed in list(self._owed):
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(_FAREWELL):
                    # The same request again gives the same answer (RFC 8656 section 7.2), and so the relay port.
                    response = await owed.connection.exchange(owed.request, owed.credentials)
                    await self._allocated(owed.connection, owed.credentials, response, owed.others, doubtful=True)
                    owed.since = -math.inf
            if time.monotonic() - owed.since > _FORGOTTEN_AFTER:
                self._owed.remove(owed)
                owed.connection.close()

    def close(self) -> None:
        """Drop every connection."""
        while self._owed:
            self._owed.pop().connection.close()

    async def _probe(self, transport: str, port: int) -> None:
        pending = {"stun": "timeout", **({"turn": "timeout"} if self._secret else {})}
        started = time.monotonic()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(_PATIENCE):
                connection = await connect(transport, self._host, port)
                connected = time.monotonic() - started
                await self._steps(transport, connection, connected, pending)
        except TimeoutError:
            pass
        except ssl.SSLError:
            pending = dict.fromkeys(pending, "tls")
        except (OSError, EOFError):
            pending = dict.fromkeys(pending, "refused")
        finally:
            if connection and all(owed.connection is not connection for owed in self._owed):
                connection.close()
        for probe, reason in pending.items():
            self._report(probe, transport, Outcome(failure=reason))

    async def _steps(self, transport: str, connection: Connection, connected: float, pending: dict[str, str]) -> None:
        """The requests, in the order that marks the session as ours with its very first; what ends leaves `pending`."""
        began = time.monotonic()
        challenge = await connection.exchange(self._allocate())
        challenged = time.monotonic() - began
        self.software = challenge.software or self.software
        if challenge.success:  # a server that asks for no credentials
            await self._allocated(connection, None, challenge, self._others)
        began = time.monotonic()
        answer = await connection.exchange(stun.encode(Method.BINDING, [self._origin]))
        self.bindings += 1
        if answer.success:
            self._report("stun", transport, Outcome(connected + time.monotonic() - began))
        else:
            self._report("stun", transport, Outcome(failure=REASONS.get(answer.error, "error")))
        del pending["stun"]
        if "turn" not in pending:
            return
        began = time.monotonic()
        response = challenge
        if challenge.error == _UNAUTHORIZED:
            # Each transport is a user of its own, as a user-quota may allow but one allocation at a time.
            response = await self._authenticated(connection, challenge, f"{self.name}-{transport}")
        if response.success:
            self._report("turn", transport, Outcome(connected + challenged + time.monotonic() - began))
        else:
            self._report("turn", transport, Outcome(failure=REASONS.get(response.error, "error")))
        del pending["turn"]

    async def _authenticated(self, connection: Connection, challenge: Response, name: str) -> Response:
        credentials = _ephemeral(self._secret, name, challenge)
        request = self._allocate(credentials)
        others = self._others
        try:
            response = await connection.exchange(request, credentials)
            await self._allocated(connection, credentials, response, others)
        except BaseException:
            # Sent, and perhaps received: on UDP only an answer can tell that nothing is left.
            if not connection.closing_releases:
                self._owed.append(_Owed(connection, request, credentials, others, time.monotonic()))
            raise
        return response

    async def _allocated(
        self,
        connection: Connection,
        credentials: Credentials | None,
        response: Response,
        others: Collection[int],
        *,
        doubtful: bool = False,
    ) -> None:
        """Remember the allocation's socket, then release it; with `doubtful` even if the response knows of none."""
        if response.success:
            # A client can have the same port at another relay address. An address tells no more: it may be mapped.
            at_port = {inode for inode, port in self._sockets().items() if port == response.relay_port}
            self._held |= at_port.difference(others)
        elif not doubtful:
            return
        release = [self._origin, (Attribute.LIFETIME, bytes(4))]
        farewell = await connection.exchange(stun.encode(Method.REFRESH, release, credentials), credentials)
        if farewell.error == _STALE_NONCE and credentials:
            credentials = replace(credentials, nonce=farewell.attributes.get(Attribute.NONCE, b""))
            await connection.exchange(stun.encode(Method.REFRESH, release, credentials), credentials)

    def _allocate(self, credentials: Credentials | None = None) -> tuple[bytes, bytes]:
        return stun.encode(Method.ALLOCATE, self._wanted, credentials)

    def _report(self, probe: str, transport: str, outcome: Outcome) -> None:
        self.outcomes[probe, transport] = outcome
        if outcome.failure:
            key = (probe, transport, outcome.failure)
            self.failures[key] = self.failures.get(key, 0) + 1


def _ephemeral(secret: str, name: str, challenge: Response) -> Credentials:
    """Credentials of the TURN REST API (draft-uberti-behave-turn-rest), as Prosody gives them to clients."""
    username = f"{int(time.time()) + _CREDENTIALS_LAST}:{name}"
    password = base64.b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()
    realm, nonce = (challenge.attributes.get(kind, b"") for kind in (Attribute.REALM, Attribute.NONCE))
    return Credentials(username, password, realm, nonce)
