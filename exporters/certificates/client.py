"""Probes one target once: connects or reads files, and judges the certificates. It keeps no schedule."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from exporters.certificates.certificate import Contents
from exporters.certificates.config import FILE, POSTGRESQL
from exporters.certificates.files import read_files, read_leaf
from exporters.certificates.handshake import BELOW_1_2, WEAK, context, handshake
from exporters.certificates.snapshot import Chain, Observation
from exporters.certificates.starttls import begin
from exporters.certificates.trust import WEAK_PROTOCOL, Authorities, is_for_host, is_for_libpq, judge
from exporters.certificates.wire import Wire
from toolkit.names import Names
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from OpenSSL import SSL, crypto

    from exporters.certificates.certificate import Certificate
    from exporters.certificates.config import Target
    from exporters.certificates.handshake import Handshake
    from exporters.certificates.trust import Trust

REASONS = (
    "timeout",
    "dns",
    "refused",
    "unreachable",
    "closed",
    "protocol",
    "stream_error",
    "starttls_refused",
    "not_tls",
    "handshake",
    "too_much_data",
    "no_certificate",
    "bad_certificate",
    "chain_too_long",
    "no_file",
    "unreadable_file",
    "bad_file",
    "too_large_file",
    "too_many_files",
    "too_many_certificates",
    "bad_ca",
    "internal",
)
_JUDGE_EVERY = 600.0  # seconds; a trusted certificate may expire too, and its date is unknown here
# How a server that does not accept a weak handshake ends it; and how far one comes that does.
_SAID = {"handshake": False, "closed": False, "no_certificate": True, "bad_certificate": True, "chain_too_long": True}
_WEAK_EVERY = 3600.0  # seconds; each try is a failed handshake in the server's log


class CertificateClient:
    """Probes targets, one call each; all share the trusted certificates."""

    def __init__(self) -> None:
        self._authorities = Authorities()
        self._names = Names()
        self._trust: dict[tuple[str, str], _Judged] = {}  # by target and place

    def forget(self) -> None:
        """Read the trusted certificates again when they are next needed."""
        self._authorities = Authorities()
        self._trust.clear()

    async def observe(self, target: Target, last: Observation | None) -> Observation:
        """Probe a target, for at most its timeout.

        Args:
            target: the target.
            last: the previous observation, for what is not checked again or cannot be seen now.

        Raises:
            TargetError: no certificate could be seen; its reason is one of REASONS.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + target.timeout
        try:
            async with asyncio.timeout_at(until):
                if target.kind == FILE:
                    return await self._files(target, last)
                seen, failure = await self._served(target, last)
        except TimeoutError:
            raise TargetError("timeout", f"no complete answer within {target.timeout:g} s") from None
        seen = await self._weak(target, seen, last, until)
        if seen.weak.get(BELOW_1_2):
            judged = {key: _with_reason(chain, WEAK_PROTOCOL) for key, chain in seen.chains.items()}
            seen = replace(seen, chains=judged)
        if target.file:
            try:
                # The comparison has a short timeout of its own, so that it cannot lose the dates just seen.
                async with asyncio.timeout(target.timeout):
                    leaf = await read_leaf(target.file)
                served = any(chain.certificates[0].der == leaf.der for chain in seen.chains.values())
                seen = replace(seen, serves_file=served)
            except TargetError as error:
                failure = (error.reason, str(error))
            except TimeoutError:
                failure = ("timeout", f"{target.file} could not be read within {target.timeout:g} s")
        return replace(seen, failure=failure)

    async def _served(self, target: Target, last: Observation | None) -> tuple[Observation, tuple[str, str] | None]:
        """Return the chain that a server sends, or its chain for each kind of key in the configuration."""
        known = {one.der: one for chain in (last.chains if last else {}).values() for one in chain.certificates}
        chains: dict[str, Chain] = {}
        failure: tuple[str, str] | None = None
        old_tls = False
        for key in target.keys or ("",):
            try:
                shown = await self._connect(target, context(key=key or None), known)
            except TargetError as error:
                error = TargetError(error.reason, f"{error} (asked for its {key} certificate)") if key else error
                failure = failure or (error.reason, str(error))
                if last and key in last.chains:
                    chains[key] = last.chains[key]
                continue
            old_tls = old_tls or shown.below_1_2
            chains[key], untrusted = self._chain(target, key, Contents(shown.certificates, shown.unreadable, True))  # noqa: FBT003 - its third field
            if shown.failure:
                untrusted = (shown.failure.reason, f"{shown.failure} after its certificates had come")
            failure = failure or untrusted
        if not chains:
            assert failure is not None, "there is at least one key"
            raise TargetError(*failure)
        return Observation(chains, weak={BELOW_1_2: True} if old_tls else {}), failure

    async def _weak(self, target: Target, seen: Observation, last: Observation | None, until: float) -> Observation:
        """Find out which weak handshakes are accepted, unless that was tried a short while ago."""
        now = time.time()
        known = {**(last.weak if last else {}), **seen.weak}
        if last and len(last.weak) == len(WEAK) and 0 <= now - last.weak_at < _WEAK_EVERY:
            return replace(seen, weak=known, weak_at=last.weak_at)
        tried = {
            offer: await self._accepts(target, offer, until, len(WEAK) - number)
            for number, offer in enumerate(WEAK)
            if offer not in seen.weak
        }
        known |= {offer: accepted for offer, accepted in tried.items() if accepted is not None}
        again = None in tried.values()
        return replace(seen, weak=known, weak_at=(last.weak_at if last else 0.0) if again else now)

    async def _accepts(self, target: Target, offer: str, until: float, left: int) -> bool | None:
        """Tell whether a server accepts a handshake with nothing but this offer; None: unknown.

        coturn is silent where it does not accept one (no-tlsv1). Silence counts if the server then answers a usual one.

        Args:
            target: the server, which has just answered a usual handshake.
            offer: of WEAK.
            until: when the probe must be over, in the loop's time.
            left: how many offers are left, this one included; the time is shared.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout((until - loop.time()) / (left + 1)):
                await self._connect(target, context(weak=offer), {})
        except TargetError as error:
            return _SAID.get(error.reason)
        except TimeoutError:
            return False if await self._answers(target, until) else None
        return True

    async def _answers(self, target: Target, until: float) -> bool:
        try:
            async with asyncio.timeout_at(until):
                await self._connect(target, context(), {})
        except (TargetError, TimeoutError):
            return False
        return True

    async def _connect(self, target: Target, how: SSL.Context, known: Mapping[bytes, Certificate]) -> Handshake:
        assert target.address is not None
        host, port = target.address
        try:
            addresses = await self._names.find(host, port)
            wire = await Wire.connect(addresses)
        except OSError as error:
            raise _not_connected(error, f"{host}:{port}") from None
        try:
            await begin(target.kind, target.server_name, wire)
            return await handshake(wire, target.server_name, context=how, known=known)
        except TargetError as error:
            raise TargetError(error.reason, f"{host}:{port}: {error}") from None
        except OSError:
            raise TargetError("closed", f"{host}:{port}: the server reset the connection; see its log") from None
        finally:
            wire.close()

    async def _files(self, target: Target, last: Observation | None) -> Observation:
        chains: dict[str, Chain] = {}
        failure: tuple[str, str] | None = None
        for path, content in (await read_files(target.paths)).items():
            if isinstance(content, TargetError):
                failure = failure or (content.reason, str(content))
                if last and str(path) in last.chains:
                    chains[str(path)] = last.chains[str(path)]
                continue
            chains[str(path)], untrusted = self._chain(target, str(path), content)
            if content.unreadable:
                untrusted = ("bad_file", f"{path}: {content.unreadable} of its certificates cannot be read")
            elif content.broken_key:
                untrusted = ("bad_file", f"{path}: its private key is cut off, or joined to what follows it")
            failure = failure or untrusted
        if not chains:
            assert failure is not None, "a target has at least one path"
            raise TargetError(*failure)
        return Observation(chains, failure=failure)

    def _chain(self, target: Target, place: str, contents: Contents) -> tuple[Chain, tuple[str, str] | None]:
        """Judge a chain; dates are shown even if the trusted certificates cannot be read."""
        certificates = contents.certificates
        try:
            trust = self._judged(target, place, certificates)
        except TargetError as error:
            return Chain(certificates, None, _first(certificates), contents.unreadable), (error.reason, str(error))
        # A file, such as a bundle of CAs, may hold certificates of different paths; each counts.
        relevant = certificates if target.kind == FILE else trust.path
        return Chain(certificates, trust.reasons, _first(relevant), contents.unreadable), None

    def _judged(self, target: Target, place: str, certificates: tuple[Certificate, ...]) -> Trust:
        """Judge a chain, or return what was found before: OpenSSL's checks cost more than the handshake."""
        store = self._authorities.store(target.ca)
        now = time.time()
        ders = tuple(certificate.der for certificate in certificates)
        known = self._trust.get((target.name, place))
        if known and known.ders == ders and known.store is store and known.made <= now < known.until:
            return known.trust
        matches = is_for_libpq if target.kind == POSTGRESQL else is_for_host
        trust = judge(certificates, store, target.host_names, matches)
        dates = (moment for certificate in certificates for moment in (certificate.not_before, certificate.not_after))
        until = min((moment for moment in dates if moment > now), default=now + _JUDGE_EVERY)
        self._trust[target.name, place] = _Judged(ders, store, trust, now, min(until, now + _JUDGE_EVERY))
        return trust


@dataclass(frozen=True, slots=True)
class _Judged:
    """A judged chain, its trusted certificates, and when it begins and ends, in seconds since 1970."""

    ders: tuple[bytes, ...]
    store: crypto.X509Store
    trust: Trust
    made: float
    until: float


def _first(certificates: Sequence[Certificate]) -> Certificate:
    return min(certificates, key=lambda one: one.not_after)


def _with_reason(chain: Chain, reason: str) -> Chain:
    return chain if chain.reasons is None else replace(chain, reasons=(*chain.reasons, reason))


def _not_connected(error: OSError, address: str) -> TargetError:
    if isinstance(error, socket.gaierror):
        return TargetError("dns", f"{address}: the name cannot be resolved; check address and DNS")
    if isinstance(error, ConnectionRefusedError):
        return TargetError("refused", f"{address}: connection refused; does the server run and listen there?")
    cause = error.strerror or "several addresses, none answers"
    return TargetError("unreachable", f"{address}: {cause.partition(' (')[0]}; check network and firewall")
