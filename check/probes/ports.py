"""Tries ports from this host: some must answer, others must not. It sends nothing but the TCP handshake."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal

from check.probes import Probed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from toolkit.values import Address

_TIMEOUT: Final = 3.0  # seconds; a firewall that drops gives no answer at all
_AT_ONCE: Final = 32


def ports(must_answer: Iterable[Address], must_not: Iterable[Address], timeout: float = _TIMEOUT) -> Probed:
    """Judge whether only the ports that must answer do.

    Args:
        must_answer: if one of these does not, the network may be broken and nothing is known.
        must_not: a port that refuses or does not answer is closed.
        timeout: seconds for each.
    """
    wanted, unwanted = tuple(must_answer), tuple(must_not)
    if not wanted or not unwanted:
        return Probed("UNKNOWN", "no ports are listed")
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        states = list(threads.map(lambda address: _state(address, timeout), (*wanted, *unwanted)))
    by_address = list(zip((*wanted, *unwanted), states, strict=True))
    silent = [address for address, state in by_address[: len(wanted)] if state != "open"]
    reached = [address for address, state in by_address[len(wanted) :] if state == "open"]
    nameless = [address for address, state in by_address[len(wanted) :] if state == "no name"]
    if reached:
        return Probed("FAIL", f"reachable from here: {_listed(reached)}")
    if silent:
        return Probed("UNKNOWN", f"{_listed(silent)} does not answer, so closed ports prove nothing")
    if nameless:
        return Probed("UNKNOWN", f"no address found for {_listed(nameless)}")
    return Probed("ok")


def _state(address: Address, timeout: float) -> Literal["open", "closed", "no name"]:
    try:
        socket.create_connection((address.host, address.port), timeout).close()
    except socket.gaierror:
        return "no name"
    except OSError:
        return "closed"
    return "open"


def _listed(addresses: Iterable[Address]) -> str:
    return ", ".join(map(str, addresses))
