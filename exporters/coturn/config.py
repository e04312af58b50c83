"""Reads turnserver.conf as coturn itself reads it, and answers what the exporter needs to know. It changes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from toolkit import documents

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_OPTION = re.compile(r"([^\s=]+)[\s=]*(.*)")
_QUOTED = re.compile(r'"(.*?)\s*"?')  # coturn takes them off, the second even if there is none
_NO = re.compile(r"[0nNfF].*|off|Off|OFF")
_TRAILING_COMMENT = re.compile(r"\s#")
_NUMBER = re.compile(r"\d+")
_UNLOGGED = {"stdout", "-", "syslog"}  # log-file's special names: there is no file to follow


class ConfigError(documents.ConfigError):
    """turnserver.conf cannot be used: one line for the operator."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)


@dataclass(frozen=True)
class LogPlace:
    """Where coturn was told to log.

    Args:
        base: the path as configured, None for coturn's own choice (turn_<pid>_<date>.log in /var/log/turnserver, ...).
        dated: whether coturn puts the date before the suffix and opens a new file at midnight.
    """

    base: Path | None
    dated: bool


@dataclass(frozen=True)
class Cli:
    """The telnet CLI: address, and the password in clear ("" if only its hash is known)."""

    host: str
    port: int
    password: str


@dataclass(frozen=True)
class Configuration:
    """One turnserver.conf.

    Args:
        path: the file.
        options: every value of every option, in the file's order; a repeated option has several.
        commented: options with a comment behind their value. coturn has no such comments: it takes the text as part
            of the value, and e.g. ignores that denied-peer-ip.
    """

    path: Path
    options: Mapping[str, tuple[str, ...]]
    commented: tuple[str, ...]

    def text(self, name: str, default: str = "") -> str:
        """The last value of an option, as coturn's own choice among several."""
        return self.options.get(name, (default,))[-1]

    def number(self, name: str, default: int) -> int:
        """A numeric option; like C's atoi, what follows the digits does not count."""
        found = _NUMBER.match(self.text(name))
        return int(found[0]) if found else default

    def flag(self, *names: str) -> bool:
        """Whether one of these switches is on; alone on its line it is."""
        return any(name in self.options and not _NO.fullmatch(self.text(name)) for name in names)

    @property
    def address(self) -> str:
        """An address coturn listens on; without listening-ip those are all, so loopback is one."""
        return self.options.get("listening-ip", ("127.0.0.1",))[0]

    @property
    def listeners(self) -> dict[str, int]:
        """The port of each transport coturn serves clients on: udp, tcp, tls."""
        plain, secure = self.number("listening-port", 3478), self.number("tls-listening-port", 5349)
        tls = "cert" in self.options and "pkey" in self.options and not self.flag("no-tls")
        return {
            **({} if self.flag("no-udp") else {"udp": plain}),
            **({} if self.flag("no-tcp") else {"tcp": plain}),
            **({"tls": secure} if tls else {}),
        }

    @property
    def relay_ports(self) -> range:
        """The UDP ports of relays, the same on each relay address."""
        return range(self.number("min-port", 49152), self.number("max-port", 65535) + 1)

    @property
    def relay_addresses(self) -> tuple[str, ...]:
        """The addresses of relays, by default those it listens on; none means whichever a client came in on."""
        given = dict.fromkeys(self.options.get("relay-ip") or self.options.get("listening-ip", ()))
        return tuple(address for address in given if _is_address(address))

    @property
    def only_ipv6_relays(self) -> bool:
        """Whether a client has to ask for an IPv6 relay to get one at all."""
        return bool(self.relay_addresses) and all(":" in address for address in self.relay_addresses)

    @property
    def secret(self) -> str:
        """The shared secret of the TURN REST API; "" when there is none, or when it is in a database."""
        return self.text("static-auth-secret")  # which implies use-auth-secret

    @property
    def total_quota(self) -> int:
        """Allocations allowed at once, 0 for no limit."""
        return self.number("total-quota", 0)

    @property
    def cli(self) -> Cli | None:
        """The CLI, None when it is off: coturn does not open it without a password."""
        password = self.text("cli-password")
        if not password or self.flag("no-cli"):
            return None
        known = "" if password.startswith("$") else password  # $5$... is a hash
        return Cli(self.text("cli-ip", "127.0.0.1"), self.number("cli-port", 5766), known)

    @property
    def endpoint(self) -> str | None:
        """URL of coturn's built-in Prometheus endpoint, None when it is not switched on."""
        if not self.flag("prometheus"):
            return None
        host = self.text("prometheus-address", "127.0.0.1")
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.number('prometheus-port', 9641)}{self.text('prometheus-path', '/metrics')}"

    @property
    def log(self) -> LogPlace | None:
        """The log to follow, None when there is no file or no line about allocations in it."""
        base = self.text("log-file")
        if not self.flag("verbose", "Verbose") or self.flag("syslog") or base in _UNLOGGED:
            return None
        return LogPlace(self.path.parent / base if base else None, dated=not self.flag("simple-log"))


def _is_address(text: str) -> bool:
    try:
        return not ip_address(text).is_unspecified
    except ValueError:
        return False


def load(path: Path) -> Configuration:
    """Read a turnserver.conf.

    Raises:
        ConfigError: it cannot be read, or a port range in it is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; set --coturn.config, and run as user turnserver"
        ) from error
    options: dict[str, tuple[str, ...]] = {}
    commented = []
    for line in lines:
        option = _OPTION.fullmatch(line.strip())
        if not option or line.lstrip().startswith("#"):
            continue
        name, value = option.groups()
        if quoted := _QUOTED.fullmatch(value):
            value = quoted[1]
        options[name] = (*options.get(name, ()), value)
        if _TRAILING_COMMENT.search(value):
            commented.append(name)
    found = Configuration(path, options, tuple(commented))
    if not found.relay_ports:
        raise ConfigError(f"{path}: min-port is above max-port; no relay is possible")
    return found
