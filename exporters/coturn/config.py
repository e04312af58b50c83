"""The settings of coturn that the exporter needs, from turnserver.conf and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.coturn import options as syntax
from toolkit import documents
from toolkit.files import content

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporters.coturn.options import Comment

_UNLOGGED = {"stdout", "-", "syslog"}  # log-file's special names: there is no file to follow
_DEVICES = ("/dev/", "/proc/")  # under these names coturn and the exporter open different files
_SILENT_LEVELS = {"warning", "error"}  # of log-min-level: without the lines about allocations
_LAST_PORT = 65535


class CoturnConfigError(documents.ConfigError):
    """coturn's settings cannot be used: one line for the operator."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)


@dataclass(frozen=True)
class LogPlace:
    """Where coturn logs, by its configuration.

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
    """The settings of one coturn.

    Args:
        path: its turnserver.conf.
        options: every value of every option, in coturn's order: the last one counts where there can be only one.
        comments: comments after a value that change what this coturn or a newer one does; coturn does not support them.
        folder: what a relative log-file is relative to: the directory coturn was started in.
    """

    path: Path
    options: Mapping[str, tuple[str, ...]]
    comments: tuple[Comment, ...] = ()
    folder: Path = Path("/")

    def text(self, name: str, default: str = "") -> str:
        """The value of an option; of several, the one that coturn uses."""
        return self.options.get(name, (default,))[-1]

    def number(self, name: str, default: int) -> int:
        """A numeric option; as with C's atoi, anything after the digits is ignored."""
        return syntax.number(self.text(name), default)

    def flag(self, *names: str) -> bool:
        """Whether one of these switches is on."""
        return any(name in self.options and syntax.is_on(name, self.text(name)) for name in names)

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
    def own_ports(self) -> frozenset[int]:
        """Every port that coturn may listen on; inside the range of relay ports it is not a relay."""
        plain, secure = self.number("listening-port", 3478), self.number("tls-listening-port", 5349)
        alternative: tuple[int, ...] = ()
        if not self.flag("no-rfc5780"):  # listened on with two addresses or more, for NAT behavior discovery
            alternative = (
                self.number("alt-listening-port", 0) or plain + 1,
                self.number("alt-tls-listening-port", 0) or secure + 1,
            )
        auxiliary = (syntax.number(value.rpartition(":")[2], 0) for value in self.options.get("aux-server", ()))
        defaults = {"cli-port": 5766, "web-admin-port": 8080, "prometheus-port": 9641, "tcp-proxy-port": 0}
        others = (self.number(name, default) for name, default in defaults.items())
        return frozenset((plain, secure, *alternative, *auxiliary, *others))

    @property
    def relay_ports(self) -> range:
        """The ports of relays, the same on each relay address."""
        return range(self.number("min-port", 49152), self.number("max-port", 65535) + 1)

    @property
    def shares_relay_sockets(self) -> bool:
        """Whether all allocations have one socket per address (coturn 4.13), so that sockets do not count them."""
        return self.flag("multiplex-peer")

    @property
    def relay_addresses(self) -> tuple[str, ...]:
        """The addresses of relays, by default those it listens on; none means those that coturn finds by itself."""
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
    def rest_api_separator(self) -> str:
        """The separator between the time of expiry and the name in a user name of the TURN REST API."""
        return self.text("rest-api-separator")[:1] or ":"

    @property
    def redirects(self) -> bool:
        """Whether coturn sends clients on to other servers, with error 300."""
        kinds = ("alternate-server", "tls-alternate-server", "tcp-alternate-server", "udp-alternate-server")
        return any(self.options.get(kind) for kind in kinds)

    @property
    def probed_relay(self) -> str:
        """The protocol of the relays that the probe asks for: udp, or tcp where coturn gives no other."""
        return "tcp" if self.flag("no-udp-relay") else "udp"

    @property
    def relay_protocols(self) -> tuple[str, ...]:
        """The protocols of relays that coturn gives; TCP (RFC 6062) only to clients that came over TCP or TLS."""
        streams = self.listeners.keys() - {"udp"}
        return (
            *(() if self.flag("no-udp-relay") else ("udp",)),
            *(("tcp",) if streams and not self.flag("no-tcp-relay") else ()),
        )

    def probes(self, transport: str) -> tuple[str, ...]:
        """The probes that coturn answers over this transport: "stun", "turn"."""
        unsigned = not self.flag("secure-stun")
        relays = not self.flag("stun-only") and (transport != "udp" or self.probed_relay == "udp")
        return (
            *(("stun",) if not self.flag("no-stun") and (unsigned or self.secret) else ()),
            *(("turn",) if relays and (self.secret or self.flag("no-auth")) else ()),
        )

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
        if not self.flag("prometheus", "prometheus-tls"):
            return None
        host = self.text("prometheus-address", "127.0.0.1")
        if not _is_address(host):
            host = "127.0.0.1"  # 0.0.0.0: every address
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if self.flag("prometheus-tls") else "http"
        path = self.text("prometheus-path", "/metrics")
        return f"{scheme}://{host}:{self.number('prometheus-port', 9641)}/{path.lstrip('/')}"

    @property
    def log(self) -> LogPlace | None:
        """The log to follow, None when there is no file or no line about allocations in it."""
        if self.log_missing:
            return None
        base = self.text("log-file")
        return LogPlace(self.folder / base if base else None, dated=not self.flag("simple-log"))

    @property
    def log_missing(self) -> str:
        """Why there is no log to follow, "" if there is one."""
        base = self.text("log-file")
        if not self.flag("verbose", "Verbose"):
            return "verbose is off"
        if self.text("log-min-level").lower() in _SILENT_LEVELS:
            return "log-min-level leaves out the lines about allocations"
        if self.flag("syslog") or base == "syslog":
            return "coturn logs to syslog"
        if base in _UNLOGGED or base.startswith(_DEVICES):
            return "coturn logs to its standard output or to a device"
        return ""


def _is_address(text: str) -> bool:
    try:
        return not ip_address(text).is_unspecified
    except ValueError:
        return False


def load(path: Path, command: Sequence[str] = (), folder: Path | None = None) -> Configuration:
    """Read a turnserver.conf, and the command line of the coturn that runs with it.

    Args:
        path: the file. With `-n` on the command line neither coturn nor this function reads it.
        command: the arguments of the running turnserver, without its name.
        folder: the directory it was started in, if that is known.

    Raises:
        ConfigError: the file cannot be read, or has ports that do not exist.
    """
    lines: list[tuple[int, str, str]] = []
    if syntax.config_file(command) is not None:
        try:
            lines = list(syntax.in_file(content(path, errors="replace")))
        except OSError as error:
            raise CoturnConfigError(
                f"cannot read {path}: {error.strerror}; set --coturn.config, and run as user turnserver"
            ) from error
        except ValueError as error:  # a path with a NUL in it
            raise CoturnConfigError(f"cannot read {str(path)!r}: {error}; set --coturn.config") from error
    found = Configuration(
        path,
        syntax.merged(((name, value) for _, name, value in lines), syntax.on_command_line(command)),
        tuple(found for place, name, value in lines if (found := syntax.comment(name, value, place))),
        path.parent if folder is None else folder,
    )
    _check_ports(found)
    return found


def _check_ports(config: Configuration) -> None:
    for name, default in (
        ("min-port", 49152),
        ("max-port", _LAST_PORT),
        ("listening-port", 3478),
        ("tls-listening-port", 5349),
        ("cli-port", 5766),
        ("prometheus-port", 9641),
    ):
        if not 0 < (port := config.number(name, default)) <= _LAST_PORT:
            raise CoturnConfigError(f"{config.path}: {name}={port} is no port; set it to 1 to {_LAST_PORT}")
    if not config.relay_ports:
        raise CoturnConfigError(f"{config.path}: min-port is above max-port; no relay is possible")
