"""Asks one of the zone's own name servers for the service's names, and judges addresses and TTLs."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from check.probes import Probed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from check.site import Name
    from toolkit.values import Address

_TIMEOUT: Final = 5.0  # seconds for one question
_KINDS: Final = ("A", "AAAA")


class NoAnswerError(Exception):
    """One line: which question got no answer that can be used."""


@dataclass(frozen=True)
class NameAnswer:
    """What the name server says of a name: its addresses, and the longest of their TTLs in seconds."""

    addresses: frozenset[str]
    ttl: int


def dns_answers(server: Address | None, names: Iterable[Name], timeout: float = _TIMEOUT) -> Probed:
    """Judge whether each name has exactly the listed addresses."""

    def wrong(name: Name, answer: NameAnswer) -> str | None:
        if answer.addresses == name.addresses:
            return None
        has, wanted = (", ".join(sorted(each)) or "none" for each in (answer.addresses, name.addresses))
        return f"{name.name} has {has}, not {wanted}"

    return _judged(server, names, timeout, wrong)


def dns_ttl(server: Address | None, names: Iterable[Name], timeout: float = _TIMEOUT) -> Probed:
    """Judge whether the TTL of each name is short enough."""

    def wrong(name: Name, answer: NameAnswer) -> str | None:
        return f"{name.name} has a TTL of {answer.ttl} s, not {name.ttl:g}" if answer.ttl > name.ttl else None

    return _judged(server, names, timeout, wrong, must_have=True)


def _judged(
    server: Address | None,
    names: Iterable[Name],
    timeout: float,
    wrong: Callable[[Name, NameAnswer], str | None],
    *,
    must_have: bool = False,
) -> Probed:
    listed = tuple(names)
    if server is None or not listed:
        return Probed("UNKNOWN", "no names are listed")
    found = []
    try:
        for name in listed:
            answer = ask(server, name.name, timeout)
            if must_have and not answer.addresses:
                return Probed("UNKNOWN", f"{server} knows no address of {name.name}")
            if said := wrong(name, answer):
                found.append(said)
    except NoAnswerError as error:
        return Probed("UNKNOWN", str(error))
    return Probed("FAIL", "; ".join(found)) if found else Probed("ok")


def ask(server: Address, name: str, timeout: float = _TIMEOUT) -> NameAnswer:
    """Ask for the IPv4 and IPv6 addresses of a name.

    Args:
        server: authoritative for the zone: a cache would tell the rest of the TTL only.
        name: absolute, without the last dot.
        timeout: seconds for each of the two questions.

    Raises:
        NoAnswerError: there was no answer, or one that says nothing of the name.
    """
    import dns.exception  # noqa: PLC0415 - only this check pays for it
    import dns.flags  # noqa: PLC0415 - as above
    import dns.message  # noqa: PLC0415 - as above
    import dns.query  # noqa: PLC0415 - as above
    import dns.rcode  # noqa: PLC0415 - as above
    import dns.rdatatype  # noqa: PLC0415 - as above

    addresses: set[str] = set()
    longest = 0
    try:
        host = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)[0][4][0]
        for kind in _KINDS:
            question = dns.message.make_query(name, kind)
            answer, _ = dns.query.udp_with_fallback(question, str(host), timeout, port=server.port)
            if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                raise NoAnswerError(f"{server} answers {dns.rcode.to_text(answer.rcode())} for {name}")
            if not answer.flags & dns.flags.AA:
                raise NoAnswerError(f"{server} is not a name server of the zone of {name}, so its TTL says nothing")
            for rrset in answer.answer:
                longest = max(longest, rrset.ttl)  # an alias counts, too
                if rrset.rdtype == dns.rdatatype.from_text(kind):
                    addresses.update(record.address for record in rrset)
    except (dns.exception.DNSException, OSError) as error:
        why = "no answer in time" if isinstance(error, dns.exception.Timeout) else type(error).__name__
        raise NoAnswerError(f"{server} cannot be asked for {name}: {why}") from None
    return NameAnswer(frozenset(addresses), longest)
