"""Looks at one target once: connects or reads files, and judges what it sees. It keeps no state and no schedule."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from exporters.certificates.config import FILE
from exporters.certificates.files import read_files, read_leaf
from exporters.certificates.handshake import handshake
from exporters.certificates.snapshot import Chain, Observation
from exporters.certificates.starttls import begin
from exporters.certificates.verdict import WEAK_PROTOCOL, Authorities, judge
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from exporters.certificates.certificate import Certificate
    from exporters.certificates.config import Target

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
_OLD_TLS_EVERY = 3600.0  # seconds; each try is a failed handshake in the server's log


class Client:
    """Probes targets, one call each; the trusted certificates are read once for all of them."""

    def __init__(self) -> None:
        self._authorities = Authorities()

    def forget(self) -> None:
        """Read the trusted certificates again when they are next needed."""
        self._authorities = Authorities()

    async def observe(self, target: Target, last: Observation | None) -> Observation:
        """Look at a target, for at most its timeout.

        Args:
            target: where.
            last: what was seen before, for what need not or cannot be looked at now.

        Raises:
            TargetError: nothing could be seen; its reason is one of REASONS.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + target.timeout
        try:
            async with asyncio.timeout_at(until):
                if target.kind == FILE:
                    return await self._files(target, last)
                chain, old_tls = await self._connect(target)
        except TimeoutError:
            raise TargetError("timeout", f"no complete answer within {target.timeout:g} s") from None
        seen = Observation({}, old_tls=old_tls or None)
        seen = await self._old_tls(target, seen, last, until)
        try:
            # The comparison has its own, short time: it must not cost the dates just seen.
            async with asyncio.timeout(target.timeout):
                return await self._judged(target, chain, seen)
        except TimeoutError:
            failure = ("timeout", f"{target.file} could not be read within {target.timeout:g} s")
            return replace(seen, chains={"": self._chain(target, chain)[0]}, failure=failure)

    async def _judged(self, target: Target, chain: tuple[Certificate, ...], seen: Observation) -> Observation:
        judged, failure = self._chain(target, chain)
        if seen.old_tls and judged.reasons is not None:
            judged = replace(judged, reasons=(*judged.reasons, WEAK_PROTOCOL))
        serves_file = None
        if target.file:
            try:
                serves_file = chain[0].der == (await read_leaf(target.file)).der
            except TargetError as error:
                failure = (error.reason, str(error))
        return replace(seen, chains={"": judged}, serves_file=serves_file, failure=failure)

    async def _old_tls(self, target: Target, seen: Observation, last: Observation | None, until: float) -> Observation:
        """Find out whether TLS below 1.2 is accepted, unless it was just used or known a short while ago."""
        now = time.time()
        if seen.old_tls:
            return replace(seen, old_tls_at=now)
        if last and last.old_tls is not None and 0 <= now - last.old_tls_at < _OLD_TLS_EVERY:
            return replace(seen, old_tls=last.old_tls, old_tls_at=last.old_tls_at)
        try:
            async with asyncio.timeout_at(until):
                _, accepted = await self._connect(target, below_1_2=True)
        except TargetError as error:
            # Certificates or not, whoever comes that far has accepted the version.
            accepted = error.reason in {"no_certificate", "bad_certificate", "chain_too_long"}
        except TimeoutError:
            return replace(seen, old_tls=last.old_tls if last else None)
        return replace(seen, old_tls=accepted, old_tls_at=now)

    async def _connect(self, target: Target, *, below_1_2: bool = False) -> tuple[tuple[Certificate, ...], bool]:
        assert target.address is not None
        host, port = target.address
        try:
            reader, writer = await asyncio.open_connection(host, port, limit=16 * 1024, happy_eyeballs_delay=0.25)
        except OSError as error:
            raise _not_connected(error, f"{host}:{port}") from None
        try:
            await begin(target.kind, target.server_name, reader, writer)
            return await handshake(reader, writer, target.server_name, below_1_2=below_1_2)
        except TargetError as error:
            raise TargetError(error.reason, f"{host}:{port}: {error}") from None
        except OSError:
            raise TargetError("closed", f"{host}:{port}: the server reset the connection; see its log") from None
        finally:
            # Not waited for: what is left to send is a goodbye, and a hostile peer need not take it.
            writer.close()

    async def _files(self, target: Target, last: Observation | None) -> Observation:
        chains: dict[str, Chain] = {}
        failure: tuple[str, str] | None = None
        for path, content in (await read_files(target.paths)).items():
            if isinstance(content, TargetError):
                failure = failure or (content.reason, str(content))
                if last and str(path) in last.chains:
                    chains[str(path)] = last.chains[str(path)]
                continue
            chain, untrusted = self._chain(target, content)
            chains[str(path)] = chain
            failure = failure or untrusted
        if not chains:
            assert failure is not None, "a target has at least one path"
            raise TargetError(*failure)
        return Observation(chains, failure=failure)

    def _chain(self, target: Target, certificates: tuple[Certificate, ...]) -> tuple[Chain, tuple[str, str] | None]:
        """Judge a chain; dates are shown even if the trusted certificates cannot be read."""
        try:
            verdict = judge(certificates, self._authorities.store(target.ca), target.host_names)
        except TargetError as error:
            first_expiry = min(certificate.not_after for certificate in certificates)
            return Chain(certificates, None, first_expiry), (error.reason, str(error))
        # A file may hold certificates that belong to no common path, as a bundle of CAs does; each counts.
        relevant = certificates if target.kind == FILE else verdict.path
        return Chain(certificates, verdict.reasons, min(certificate.not_after for certificate in relevant)), None


def _not_connected(error: OSError, address: str) -> TargetError:
    if isinstance(error, socket.gaierror):
        return TargetError("dns", f"{address}: the name cannot be resolved; check address and DNS")
    if isinstance(error, ConnectionRefusedError):
        return TargetError("refused", f"{address}: connection refused; does the server run and listen there?")
    cause = error.strerror or "several addresses, none answers"
    return TargetError("unreachable", f"{address}: {cause.partition(' (')[0]}; check network and firewall")
