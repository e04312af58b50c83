"""Reads synthetic.yml: where the users' door is, who the test users are, and how often they try. It tries nothing."""

from __future__ import annotations

import os
import re
from argparse import ArgumentTypeError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from exporters.synthetic import names
from toolkit.documents import ConfigError, Section, compose, scalar
from toolkit.files import content
from toolkit.values import duration, is_host_name, is_ip, url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


_TOP = (
    *("domain", "door", "server_name", "nodes", "cross_node", "ca", "passwords_file", "account_prefix"),
    *("coturn", "intervals", "vantage"),
)
_NODE = ("name", "door", "server_name")
_RELAY = ("name", "host", "port", "tls_port", "server_name")
_WORD = re.compile(r"[a-z0-9]([a-z0-9.-]{0,38}[a-z0-9])?")
_PREFIX = re.compile(r"synthetic-([a-z0-9]+-)?")
_RESERVED = (names.ANY, "sender")
_MOST = 20  # nodes, and relays
_MAX_PORT = 65535
_LONGEST = 3600.0  # seconds
# What the operator sets: seconds by default and at least, and which journeys it is for.
INTERVALS: dict[str, tuple[float, float, tuple[str, ...]]] = {
    "login": (60, 2, (names.LOGIN,)),
    "message": (15, 1, (names.MESSAGE,)),
    "presence": (300, 2, (names.ONLINE, names.AWAY)),
    "force_quit": (120, 10, (names.FORCE_QUIT,)),
    "vanish": (300, 10, (names.VANISH,)),
    "resume": (300, 2, (names.RESUME,)),
    "turn": (60, 5, (names.CREDENTIALS, names.ALLOCATE, *names.RELAYS.values())),
}
# The most that all journeys together may do a second, whatever the intervals say.
MOST_MESSAGES, MOST_LOGINS = 20.0, 3.0


@dataclass(frozen=True)
class Node:
    """A Prosody, or whichever one the door chooses.

    Args:
        name: as in the label `instance` of the other jobs; `names.ANY` for the door's own choice.
        url: of the WebSocket.
        server_name: the certificate must have.
        chosen: whether the door is asked for this node, and must say that it serves.
    """

    name: str
    url: str
    server_name: str
    chosen: bool


@dataclass(frozen=True)
class Relay:
    """A coturn.

    Args:
        name: as in the label `instance` of the job coturn.
        host: name or address.
        port: for UDP and TCP.
        tls_port: for TLS; 0 if it has none.
        server_name: the certificate must have.
    """

    name: str
    host: str
    port: int
    tls_port: int
    server_name: str

    @property
    def transports(self) -> tuple[str, ...]:
        """Over which it is reached."""
        return ("udp", "tcp", "tls") if self.tls_port else ("udp", "tcp")


@dataclass(frozen=True)
class Settings:
    """What the file says.

    Args:
        domain: of the test accounts.
        nodes: the chosen ones first, then the door's own choice, if there is a common door.
        cross_node: whether users of different nodes must reach each other.
        sender: account of all who send and visit.
        receivers: accounts by node name.
        passwords: by account.
        relays: the coturns.
        intervals: seconds between two tries, by the keys of INTERVALS.
        ca: file with the trusted certificates; None for those of the system.
        vantage: from where it is measured.
    """

    domain: str
    nodes: tuple[Node, ...]
    cross_node: bool
    sender: str
    receivers: Mapping[str, str]
    passwords: Mapping[str, str] = field(repr=False)
    relays: tuple[Relay, ...]
    intervals: Mapping[str, float]
    ca: Path | None
    vantage: str

    def reachable(self, node: Node) -> tuple[Node, ...]:
        """Return the nodes whose users the users of this one should reach."""
        if not (self.cross_node and node.name != names.ANY):
            return (node,)
        return tuple(other for other in self.nodes if other.name != names.ANY)


def load(path: Path) -> Settings:
    """Read the file and the passwords it names; relative paths are relative to its folder. Raises ConfigError."""
    top = Section(path, compose(path, "--config.file"), "the file", _TOP)
    domain = _host(top, "domain")
    nodes = _nodes(top)
    prefix = top.text("account_prefix", names.ACCOUNT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        top.wrong("account_prefix", f"is {prefix!r}; write synthetic- or, for a second exporter, e.g. synthetic-paris-")
    cross_node = top.text("cross_node", "required")
    if cross_node not in ("required", "not_expected"):
        top.wrong("cross_node", f"is {cross_node!r}; write required or not_expected")
    vantage = _word(top, "vantage", "main")
    ca = top.text("ca", "system")
    receivers = {node.name: f"{prefix}{node.name}" for node in nodes}
    settings = Settings(
        domain=domain,
        nodes=nodes,
        cross_node=cross_node == "required",
        sender=f"{prefix}sender",
        receivers=receivers,
        passwords=_passwords(top, (f"{prefix}sender", *receivers.values())),
        relays=_relays(top),
        intervals=_intervals(top),
        ca=None if ca == "system" else path.parent / ca,
        vantage=vantage,
    )
    _bound(top, settings)
    return settings


def _nodes(top: Section) -> tuple[Node, ...]:
    shared = _door(top) if "door" in top.values else None
    found: dict[str, Node] = {}
    items = top.items("nodes") if "nodes" in top.values else []
    for item in items:
        text = scalar(item)
        if text is not None:
            if shared is None:
                top.wrong("nodes", "are names only, so `door` must be given; or give each node a `door` of its own")
            node = Node(text, *shared, chosen=True)
        else:
            entry = Section(top.path, item, "a node", _NODE)
            if shared is not None:
                entry.wrong("door", "is given for all nodes already; leave out one of the two")
            node = Node(entry.text("name"), *_door(entry), chosen=False)
        if not _WORD.fullmatch(node.name) or node.name in _RESERVED:
            top.wrong(
                "nodes", f"has {node.name!r}; write small letters, digits, dots and hyphens, but not any or sender"
            )
        if node.name in found:
            top.wrong("nodes", f"has {node.name!r} twice")
        found[node.name] = node
    if shared is not None:
        found[names.ANY] = Node(names.ANY, *shared, chosen=False)
    if not found:
        top.wrong(None, "names no door: give `door`, or `nodes` with a `door` each")
    if len(found) > _MOST + 1:
        top.wrong("nodes", f"are more than {_MOST}")
    return tuple(found.values())


def _door(section: Section) -> tuple[str, str]:
    """Read the address of a WebSocket, and the name its certificate must have."""
    try:
        address = url(section.text("door"), ("ws", "wss"), "wss://xmpp.commeazy.com/xmpp-websocket")
    except ArgumentTypeError as error:
        section.wrong("door", str(error))
    host = urlsplit(address).hostname or ""
    return address, _host(section, "server_name", host)


def _relays(top: Section) -> tuple[Relay, ...]:
    found: dict[str, Relay] = {}
    for item in top.items("coturn") if "coturn" in top.values else []:
        entry = Section(top.path, item, "a coturn", _RELAY)
        host = _host(entry, "host")
        relay = Relay(
            _word(entry, "name"),
            host,
            _port(entry, "port", "3478"),
            _port(entry, "tls_port", "5349", zero=True),
            _host(entry, "server_name", host),
        )
        if relay.name in found:
            entry.wrong("name", "is the name of an earlier coturn, too; names must be unique")
        found[relay.name] = relay
    if len(found) > _MOST:
        top.wrong("coturn", f"has more than {_MOST} entries")
    return tuple(found.values())


def _intervals(top: Section) -> dict[str, float]:
    found = {key: default for key, (default, _, _) in INTERVALS.items()}
    if "intervals" not in top.values:
        return found
    section = Section(top.path, top.values["intervals"].node, "intervals", tuple(INTERVALS))
    for key in section.values:
        try:
            found[key] = duration(section.text(key))
        except ArgumentTypeError as error:
            section.wrong(key, f"is wrong: {error}")
        least = INTERVALS[key][1]
        if not least <= found[key] <= _LONGEST:
            section.wrong(key, f"is {found[key]:g}s; from {least:g}s to {_LONGEST:g}s is possible")
    return found


def _bound(top: Section, settings: Settings) -> None:
    """Raise ConfigError if all journeys together would be too much for the servers they measure."""
    pairs = sum(len(settings.reachable(node)) for node in settings.nodes)
    messages = pairs / settings.intervals["message"]
    visits = ("login", "presence", "force_quit", "vanish", "resume")
    logins = len(settings.nodes) * sum(1 / settings.intervals[key] for key in visits)
    for what, rate, most in (("messages", messages, MOST_MESSAGES), ("logins", logins, MOST_LOGINS)):
        if rate > most:
            key = "intervals" if "intervals" in top.values else None
            top.wrong(key, f"make {rate:.1f} {what} a second; at most {most:g} are allowed: choose longer intervals")


def _passwords(top: Section, accounts: tuple[str, ...]) -> dict[str, str]:
    """Read the file with one account and its password a line. No error quotes anything from it."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    text = top.text("passwords_file")
    if "$CREDENTIALS_DIRECTORY" in text and not folder:
        top.wrong("passwords_file", "needs the environment variable CREDENTIALS_DIRECTORY, which systemd sets")
    path = top.path.parent / text.replace("$CREDENTIALS_DIRECTORY", folder)
    try:
        lines = content(path).splitlines()
    except OSError as error:
        top.wrong("passwords_file", f"{path}: {error.strerror}; check the path and the file's permissions")
    except UnicodeDecodeError:
        raise ConfigError(path, None, "not UTF-8 text") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        account, _, password = line.strip().partition(" ")
        if not password.strip():
            raise ConfigError(path, number, "must hold an account, a space, and its password")
        if account in found:
            raise ConfigError(path, number, "holds an account that an earlier line has, too")
        found[account] = password.strip()
    if missing := [account for account in accounts if account not in found]:
        raise ConfigError(path, None, f"has no password for {', '.join(missing)}; add a line for each")
    return {account: found[account] for account in accounts}


def _word(section: Section, key: str, default: str | None = None) -> str:
    text = section.text(key, default)
    if not _WORD.fullmatch(text):
        section.wrong(key, f"is {text!r}; write up to 40 small letters, digits, dots and hyphens")
    return text


def _host(section: Section, key: str, default: str | None = None) -> str:
    text = section.text(key, default)
    if not (is_ip(text) or is_host_name(text)):
        section.wrong(key, f"is {text!r}, which is neither a host name nor an IP address")
    return text


def _port(section: Section, key: str, default: str, *, zero: bool = False) -> int:
    text = section.text(key, default)
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and (0 if zero else 1) <= int(text) <= _MAX_PORT):  # noqa: PLR2004 - digits of a port
        section.wrong(key, f"is {text!r}, which is not a port{', or 0 for none' if zero else ''}")
    return int(text)
