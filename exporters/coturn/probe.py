"""Probes coturn as a client: a STUN Binding, and a TURN allocation that is released at once. It relays no media.

The probe's sessions carry a tag in user name and ORIGIN that only a holder of the shared secret can make, so that the
counts from the log can leave them out. The probe remembers the sockets of its allocations, so that the socket counts
can leave them out too: coturn keeps a UDP allocation for about a second after its release.
"""

from __future__ import annotations

import base64
import hmac
import math
import ssl
import time
from asyncio import gather, timeout
from contextlib import suppress
from dataclasses import dataclass, replace
from os import urandom
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.coturn.connection import connect
from toolkit import stun
from toolkit.stun import Attribute, Credentials, Method

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Mapping

    from exporters.coturn.config import Configuration
    from exporters.coturn.connection import ProbeConnection
    from toolkit.stun import StunResponse

_PATIENCE = 2.0  # seconds for everything on one connection
ENDING = 0.05  # seconds after a relay's socket was closed until coturn no longer counts it
_FAREWELL = 0.5  # seconds for a release
_CREDENTIALS_LAST = 60  # seconds; an ephemeral user name is its time of expiry
_FORGOTTEN_AFTER = 660.0  # seconds; an allocation lasts 600 unless it is refreshed
_REDIRECTED, _UNAUTHORIZED, _STALE_NONCE = 300, 401, 438
# STUN error codes an operator can do something about
REASONS = {300: "redirected", 401: "credentials", 486: "quota", 508: "ports"}
ALL_REASONS = ("timeout", "refused", "tls", *REASONS.values(), "error")
_MACHINE = Path("/etc/machine-id")  # known only to this machine; makes the tag if there is no shared secret


@dataclass(frozen=True)
class ProbeOutcome:
    """The result of the last probe: seconds from connecting to the last answer, or the one of ALL_REASONS."""

    seconds: float = 0.0
    failure: str = ""


@dataclass
class _Owed:
    """An unanswered Allocate request or release; closing its connection would release nothing."""

    connection: ProbeConnection
    request: tuple[bytes, bytes]
    credentials: Credentials | None
    others: Collection[int]
    since: float


class Probe:
    """Probes one coturn, one round over every transport at a time.

    Args:
        config: coturn's settings: where it listens, what it answers, the shared secret.
        sockets: lists all relay sockets there are, with their port, by inode.

    Attributes:
        outcomes: by (probe, transport), of the last round; probe is "stun" or "turn". Probes that coturn is configured
            not to answer, or that need a secret that is not in its file, are left out.
        failures: all failures so far by (probe, transport, reason).
        bindings: STUN Bindings answered so far.
        software: the server's last name for itself.
        tag: the text that marks the sessions of all probes with this secret.
        name: the text that marks the sessions of this probe; it begins with the tag.
    """

    def __init__(self, config: Configuration, sockets: Callable[[], Mapping[int, int]]) -> None:
        self._config = config
        self._sockets = sockets
        self._held: set[int] = set()
        self._others: Collection[int] = ()  # relay sockets that existed before a round, so they are not the probe's
        self._ended = -math.inf
        self._owed: list[_Owed] = []
        self._answering: set[str] = set()
        key = (config.secret or _machine()).encode() or urandom(16)
        self.tag = f"coturn-exporter-{hmac.digest(key, b'coturn-exporter', 'sha256').hex()[:16]}"
        self.name = f"{self.tag}-{urandom(4).hex()}"
        self._origin = (Attribute.ORIGIN, f"https://{self.name}.invalid".encode())
        self._wanted = [
            self._origin,
            (Attribute.REQUESTED_TRANSPORT, stun.TCP_RELAY if config.probed_relay == "tcp" else stun.UDP_RELAY),
            *([(Attribute.REQUESTED_ADDRESS_FAMILY, stun.IPV6_RELAY)] if config.only_ipv6_relays else []),
        ]
        self.outcomes: dict[tuple[str, str], ProbeOutcome] = {}
        self.failures: dict[tuple[str, str, str], int] = {}
        self.bindings = 0
        self.software = ""

    @property
    def answered(self) -> bool:
        """Whether coturn answered anything at all in the last round. A refusal is an answer, and so is a challenge."""
        return bool(self._answering)

    @property
    def tags_bindings(self) -> bool:
        """Whether every Binding of the probe is in a session with its tag.

        coturn takes the tag from an Allocate request, and from 4.17 on makes a session only of one with credentials.
        """
        return bool(self._config.secret) and not self._config.flag("stun-only")

    async def round(self) -> None:
        """Probe every transport once; takes at most some 2.5 seconds, whatever the server does."""
        self._others = self._sockets().keys()
        self._answering.clear()
        await gather(*(self._probe(transport, port) for transport, port in self._config.listeners.items()))

    @property
    def relays(self) -> frozenset[int]:
        """The relay sockets (by inode) of allocations that may still be open."""
        return frozenset(self._held)

    def held(self, open_sockets: Container[int]) -> set[int]:
        """Return which of these relay sockets (by inode) are the probe's own, and forget those that are closed."""
        still = {inode for inode in self._held if inode in open_sockets}
        if still != self._held:
            self._held = still
            self._ended = time.monotonic()
        return set(still)

    @property
    def has_just_ended(self) -> bool:
        """Whether a relay of the probe closed only just now, so that coturn may still count it."""
        return time.monotonic() - self._ended < ENDING

    async def settle(self) -> None:
        """Release an allocation that an unanswered request may have made; tried again until coturn answers."""
        for owed in list(self._owed):
            with suppress(TimeoutError, OSError):
                async with timeout(_FAREWELL):
                    # The same request again gives the same answer (RFC 8656 section 7.2), and so the relay port.
                    response = await owed.connection.exchange(owed.request, owed.credentials)
                    if response.success:
                        self._remember(response, owed.others)
                    await self._release(owed.connection, owed.credentials)
                    owed.since = -math.inf
            if time.monotonic() - owed.since > _FORGOTTEN_AFTER:
                self._owed.remove(owed)
                owed.connection.close()

    def close(self) -> None:
        """Drop every connection."""
        while self._owed:
            self._owed.pop().connection.close()

    async def _probe(self, transport: str, port: int) -> None:
        pending = dict.fromkeys(self._config.probes(transport), "timeout")
        started = time.monotonic()
        connection: ProbeConnection | None = None
        try:
            async with timeout(_PATIENCE):
                connection = await connect(transport, self._config.address, port)
                connected = time.monotonic() - started
                await self._steps(transport, connection, connected, pending)
        except TimeoutError:
            pass
        except ssl.SSLError:
            pending = dict.fromkeys(pending, "tls")
        except (OSError, EOFError):
            pending = dict.fromkeys(pending, "refused")
        finally:
            if connection and connection.closing_releases:
                self._owed = [owed for owed in self._owed if owed.connection is not connection]
            if connection and all(owed.connection is not connection for owed in self._owed):
                connection.close()
        for probe, reason in pending.items():
            self._report(probe, transport, ProbeOutcome(failure=reason))

    async def _steps(
        self, transport: str, connection: ProbeConnection, connected: float, pending: dict[str, str]
    ) -> None:
        """The requests; a probe that has its outcome leaves `pending`.

        The Binding comes between Allocate and release, where it belongs to a session with the probe's tag.
        """
        if self._config.flag("stun-only"):  # it ignores an Allocate
            await self._binding(transport, connection, None, connected, pending)
            return
        began = time.monotonic()
        challenge = await self._answer(connection, self._allocate())
        if challenge is None:  # stun-only, set after its configuration was read: it ignores an Allocate
            await self._binding(transport, connection, None, connected, pending)
            return
        self._answering.add(transport)
        self.software = challenge.software or self.software
        # Each transport has its own user name, because a user-quota may allow only one allocation at a time.
        credentials = None
        response: StunResponse | None = challenge
        owed = None
        if "turn" in pending and (challenge.success or challenge.error == _UNAUTHORIZED):
            if self._config.secret and not challenge.success:
                credentials = _ephemeral(self._config, f"{self.name}-{transport}", challenge)
            owed = self._owe(connection, credentials)
            if credentials:
                response = await self._answer(connection, owed.request, credentials)
        if response and response.success:
            self._remember(response, self._others)
        if response and "turn" in pending:
            expected = response.success or (response.error == _REDIRECTED and self._config.redirects)
            failure = "" if expected else REASONS.get(response.error, "error")
            self._report(
                "turn", transport, ProbeOutcome(connected + time.monotonic() - began if expected else 0.0, failure)
            )
            del pending["turn"]
        await self._binding(transport, connection, credentials, connected, pending)
        if response and response.success:
            await self._release(connection, credentials)
        if owed and response:
            self._owed.remove(owed)

    def _owe(self, connection: ProbeConnection, credentials: Credentials | None) -> _Owed:
        """Note the release before an Allocate is sent: on UDP only an answer proves that nothing is left to release."""
        owed = _Owed(connection, self._allocate(credentials), credentials, self._others, time.monotonic())
        self._owed.append(owed)
        return owed

    @staticmethod
    async def _answer(
        connection: ProbeConnection, request: tuple[bytes, bytes], credentials: Credentials | None = None
    ) -> StunResponse | None:
        """Send an Allocate; None if it is not answered in time for a Binding to be tried as well."""
        with suppress(TimeoutError):
            async with timeout(_PATIENCE / 2):
                return await connection.exchange(request, credentials)
        return None

    async def _binding(
        self,
        transport: str,
        connection: ProbeConnection,
        credentials: Credentials | None,
        connected: float,
        pending: dict[str, str],
    ) -> None:
        """Ask for our address, with credentials where coturn wants them for that (secure-stun)."""
        if "stun" not in pending:
            return
        began = time.monotonic()
        signing = credentials if self._config.flag("secure-stun") else None
        answer = await connection.exchange(stun.encode(Method.BINDING, [self._origin], signing), signing)
        self._answering.add(transport)
        self.software = answer.software or self.software
        self.bindings += 1
        if answer.error == _UNAUTHORIZED and self._config.secret and signing is None:
            signing = _ephemeral(self._config, f"{self.name}-{transport}", answer)
            answer = await connection.exchange(stun.encode(Method.BINDING, [self._origin], signing), signing)
            self.bindings += 1
        failure = "" if answer.success else REASONS.get(answer.error, "error")
        self._report("stun", transport, ProbeOutcome(0.0 if failure else connected + time.monotonic() - began, failure))
        del pending["stun"]

    def _remember(self, response: StunResponse, others: Collection[int]) -> None:
        """Remember the sockets of a new allocation."""
        # A client can have the same port at another relay address. An address tells no more: it may be mapped.
        at_port = {inode for inode, port in self._sockets().items() if port == response.relay_port}
        self._held |= at_port.difference(others)

    async def _release(self, connection: ProbeConnection, credentials: Credentials | None) -> None:
        release = [self._origin, (Attribute.LIFETIME, bytes(4))]
        farewell = await connection.exchange(stun.encode(Method.REFRESH, release, credentials), credentials)
        if farewell.error == _STALE_NONCE and credentials:
            credentials = replace(credentials, nonce=farewell.attributes.get(Attribute.NONCE, b""))
            await connection.exchange(stun.encode(Method.REFRESH, release, credentials), credentials)

    def _allocate(self, credentials: Credentials | None = None) -> tuple[bytes, bytes]:
        return stun.encode(Method.ALLOCATE, self._wanted, credentials)

    def _report(self, probe: str, transport: str, outcome: ProbeOutcome) -> None:
        self.outcomes[probe, transport] = outcome
        if outcome.failure:
            key = (probe, transport, outcome.failure)
            self.failures[key] = self.failures.get(key, 0) + 1


def _ephemeral(config: Configuration, name: str, challenge: StunResponse) -> Credentials:
    """Credentials of the TURN REST API (draft-uberti-behave-turn-rest), as Prosody gives them to clients."""
    username = f"{int(time.time()) + _CREDENTIALS_LAST}{config.rest_api_separator}{name}"
    password = base64.b64encode(hmac.digest(config.secret.encode(), username.encode(), "sha1")).decode()
    realm, nonce = (challenge.attributes.get(kind, b"") for kind in (Attribute.REALM, Attribute.NONCE))
    return Credentials(username, password, realm, nonce)


def _machine() -> str:
    with suppress(OSError, ValueError):
        return _MACHINE.read_text(encoding="ascii").strip()
    return ""
