"""Values as an operator writes them on a command line, in a file or in the environment: addresses, durations, URLs.

Each reader raises argparse.ArgumentTypeError with one line. argparse prints that line; a reader of a file puts the
file and the line number before it.
"""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_PORT = 65535
_HOUR = 3600
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
# Prometheus' durations: the units in this order, each at most once. Five digits of an hour are ten years.
_DURATION = re.compile(r"(?:([0-9]{1,5})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?(?:([0-9]{1,9})ms)?")
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)  # seconds


class Address(NamedTuple):
    """Where to listen or connect.

    Args:
        host: a name or an IP address; "" for every interface.
        port: 0 lets the system choose.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `:9871`, `127.0.0.1:9871`, `localhost:9871` or `[::1]:9871`; raises ArgumentTypeError."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not (colon and _is_port(port) and (bracketed or ":" not in host)):
            raise ArgumentTypeError(f"{text!r} is not an address; write :9871, 127.0.0.1:9871 or [::1]:9871")
        return cls(host[1:-1] if bracketed else host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_ip(text: str) -> bool:
    """Tell whether a text is an IPv4 or IPv6 address, without brackets."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_host_name(text: str) -> bool:
    """Tell whether a text may be a host's name in ASCII (RFC 1123; others as xn--...); an underscore is allowed."""
    return _HOST_NAME.fullmatch(text) is not None


def duration(text: str, *, zero: bool = False) -> float:
    """Read a duration as Prometheus writes it, e.g. `500ms`, `10s`, `1h30m`, `2d`, or with a decimal, `1.5s`.

    Args:
        text: as an operator wrote it.
        zero: whether `0s` is allowed.

    Returns seconds. Raises ArgumentTypeError.
    """
    found = _DURATION.fullmatch(text)
    if found:
        total = sum(int(digits) * unit for digits, unit in zip(found.groups("0"), _UNITS, strict=True))
    elif text.endswith("s") and _NUMBER.fullmatch(text[:-1]):
        total = float(text[:-1])
    else:
        total = math.nan
    if not text or math.isnan(total) or (total == 0 and not zero):
        raise ArgumentTypeError(f"{text!r} is not a duration; write 500ms, 10s, 1m or 1h30m")
    return total


def seconds(text: str) -> float:
    """Read a number of seconds (`2.5`) or a duration (`2s`), above 0 and up to an hour; raises ArgumentTypeError."""
    try:
        number = float(text) if _NUMBER.fullmatch(text) else duration(text)
    except ArgumentTypeError:
        number = 0.0
    if not 0 < number <= _HOUR:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and up to {_HOUR}")
    return number


def url(text: str, schemes: Sequence[str], example: str) -> str:
    """Read a URL of one of these schemes; raises ArgumentTypeError without any secret in it."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in schemes and parts.hostname and parts.port != 0 and not parts.query + parts.fragment
    except ValueError:  # a port above 65535, a bracket that is not closed
        valid = False
    if not valid or not text.isascii() or not text.isprintable() or " " in text:
        raise ArgumentTypeError(f"is not a URL; write {example}")
    if "@" in parts.netloc:
        raise ArgumentTypeError("has credentials in it, which would be seen in logs")
    return text


def _is_port(text: str) -> bool:
    # Five digits, because Python refuses to read a number of more than 4,300.
    return text.isascii() and text.isdigit() and len(text.lstrip("0")) <= 5 and int(text) <= _MAX_PORT  # noqa: PLR2004 - as said
