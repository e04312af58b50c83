"""Reads certificates.yml: which certificates to look at, where, and what is expected of them. It probes nothing."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING, NoReturn

import yaml

from toolkit.cli import Address

if TYPE_CHECKING:
    from pathlib import Path

FILE = "file"
_PORTS = {"tls": 443, "xmpp-client": 5222, "xmpp-server": 5269, "postgresql": 5432}
KINDS = (*_PORTS, FILE)
_COMMON = ("name", "kind", "timeout", "ca", "host_names")
_KEYS = dict.fromkeys(_PORTS, (*_COMMON, "address", "server_name", "file")) | {FILE: (*_COMMON, "paths")}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*"
)
_DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_TIMEOUT = 60.0


class ConfigError(Exception):
    """The file is wrong: one line with file, line number, target, and what to do."""


@dataclass(frozen=True)
class Target:
    """One place where certificates are looked at.

    Args:
        name: value of the label `target`.
        kind: of KINDS.
        address: where it listens; None for files.
        server_name: sent as SNI and as the XMPP stream's `to`; "" for none (RFC 6066 knows no IP addresses).
        host_names: names and addresses the leaf must be valid for.
        ca: file with the trusted certificates; None for those of the system.
        timeout: seconds for one whole probe.
        file: what the server should be serving, None if nobody said.
        paths: the files, as glob patterns.
    """

    name: str
    kind: str
    address: Address | None = None
    server_name: str = ""
    host_names: tuple[str, ...] = ()
    ca: Path | None = None
    timeout: float = 5.0
    file: Path | None = None
    paths: tuple[str, ...] = ()


def duration(text: str) -> float:
    """Read `500ms`, `10s`, `1m` or `1h` as seconds above 0; raises argparse.ArgumentTypeError."""
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not seconds:
        raise ArgumentTypeError(f"{text!r} is not a duration; write 500ms, 10s, 1m or 1h")
    return seconds


def load(path: Path) -> tuple[Target, ...]:
    """Read the file; relative paths in it are relative to its folder. Raises ConfigError."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; check --config.file and the file's permissions") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"{path}: not valid YAML: a control character, or nested too deeply") from None
    top = _Mapping(path, root, "the file", ("targets",))
    targets: dict[str, Target] = {}
    for node in top.items("targets"):
        entry = _Mapping(path, node, "a target", tuple(dict.fromkeys(key for keys in _KEYS.values() for key in keys)))
        target = _target(entry)
        if target.name in targets:
            entry.wrong("name", "is the name of an earlier target, too; names must be unique")
        targets[target.name] = target
    if not targets:
        raise ConfigError(f"{path}: no targets; list at least one under `targets`")
    return tuple(targets.values())


@dataclass
class _Mapping:
    """A YAML mapping as nodes, which know their lines; every complaint goes through `wrong`."""

    path: Path
    node: yaml.Node | None
    what: str
    known: tuple[str, ...]
    values: dict[str, yaml.Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.node, yaml.MappingNode):
            self.wrong(None, f"must be a mapping with the keys {', '.join(self.known)}")
        for key_node, value in self.node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in self.values:
                self.wrong(None, f"has {key!r} twice", line)
            self.values[key] = value
        if "name" in self.values and isinstance(self.values["name"], yaml.ScalarNode):
            self.what = f"target {self.values['name'].value!r}"
        self.allow(self.known)

    def allow(self, known: tuple[str, ...], where: str = "") -> None:
        for key, value in self.values.items():
            if key not in known:
                close = get_close_matches(key, known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
                self.wrong(None, f"has no key {key!r}{where}; {hint}", value.start_mark.line + 1)

    def wrong(self, key: str | None, problem: str, line: int | None = None) -> NoReturn:
        node = self.values.get(key, self.node) if key else self.node
        line = line or (node.start_mark.line + 1 if node else 1)
        subject = f"{self.what}: {key}" if key else self.what
        raise ConfigError(f"{self.path}:{line}: {subject} {problem}")

    def text(self, key: str, default: str | None = None) -> str:
        node = self.values.get(key)
        if node is None and default is not None:
            return default
        if not isinstance(node, yaml.ScalarNode) or not str(node.value).strip():
            self.wrong(key, "must be given, as one value" if node is None else "must be one value")
        value = str(node.value)
        if not value.isprintable():
            self.wrong(key, "holds a control character")
        return value

    def items(self, key: str) -> list[yaml.Node]:
        node = self.values.get(key)
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(key, "must be a list")
        return list(node.value)

    def texts(self, key: str) -> tuple[str, ...]:
        found = []
        for node in self.items(key):
            if not isinstance(node, yaml.ScalarNode) or not node.value or not str(node.value).isprintable():
                self.wrong(key, "must be a list of texts")
            found.append(str(node.value))
        return tuple(found)


def _target(entry: _Mapping) -> Target:
    name, kind = entry.text("name"), entry.text("kind")
    if not _NAME.fullmatch(name):
        entry.wrong("name", "must be 1 to 64 letters, digits, dots, hyphens or underscores")
    if kind not in KINDS:
        entry.wrong("kind", f"is {kind!r}; possible are {', '.join(KINDS)}")
    entry.allow(_KEYS[kind], f" with kind {kind}")
    ca = entry.text("ca", "system")
    common = {
        "name": name,
        "kind": kind,
        "ca": None if ca == "system" else entry.path.parent / ca,
        "timeout": _timeout(entry),
    }
    host_names = _host_names(entry)
    if kind == FILE:
        paths = tuple(str(entry.path.parent / pattern) for pattern in entry.texts("paths"))
        if not paths:
            entry.wrong("paths", "must name at least one file")
        return Target(**common, host_names=host_names or (), paths=paths)  # type: ignore[arg-type] # a dict of fields
    address = _address(entry, kind)
    server_name = entry.text("server_name", "" if _is_ip(address.host) else address.host)
    if server_name and not _HOST.fullmatch(server_name):
        entry.wrong("server_name", f"is {server_name!r}, not a host name in ASCII (write xn--... for others)")
    if not server_name and kind.startswith("xmpp"):
        entry.wrong("server_name", "must be given: an XMPP stream is addressed to a domain, not to an IP address")
    if host_names is None:
        host_names = (server_name or address.host,)
    file = entry.path.parent / entry.text("file") if "file" in entry.values else None
    return Target(**common, address=address, server_name=server_name, host_names=host_names, file=file)  # type: ignore[arg-type] # as above


def _address(entry: _Mapping, kind: str) -> Address:
    text = entry.text("address")
    try:
        address = Address.parse(text)
    except ArgumentTypeError:
        address = Address("", 0)
    if not address.port or not (_is_ip(address.host) or _HOST.fullmatch(address.host)):
        entry.wrong("address", f"is {text!r}; write host:port, e.g. xmpp.commeazy.com:{_PORTS[kind]}")
    return address


def _host_names(entry: _Mapping) -> tuple[str, ...] | None:
    if "host_names" not in entry.values:
        return None
    names = entry.texts("host_names")
    for name in names:
        if not (_is_ip(name) or _HOST.fullmatch(name)):
            entry.wrong("host_names", f"has {name!r}, which is neither a host name nor an IP address")
    return names


def _timeout(entry: _Mapping) -> float:
    try:
        seconds = duration(entry.text("timeout", "5s"))
    except ArgumentTypeError as error:
        entry.wrong("timeout", f"is wrong: {error}")
    if seconds > _LONGEST_TIMEOUT:
        entry.wrong("timeout", f"is above {_LONGEST_TIMEOUT:g}s; a slow target would hold a place among the probes")
    return seconds


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
