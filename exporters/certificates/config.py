"""Reads certificates.yml: the targets, and what their certificates must fulfil. It probes nothing."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporters.certificates.openssl import KEYS
from toolkit.documents import ConfigError, Section, compose
from toolkit.values import Address, duration, is_host_name, is_ip

if TYPE_CHECKING:
    from pathlib import Path

FILE, POSTGRESQL = "file", "postgresql"
_PORTS = {"tls": 443, "xmpp-client": 5222, "xmpp-server": 5269, POSTGRESQL: 5432}
KINDS = (*_PORTS, FILE)
_COMMON = ("name", "kind", "timeout", "ca", "host_names")
_KEYS = dict.fromkeys(_PORTS, (*_COMMON, "address", "server_name", "file", "keys")) | {FILE: (*_COMMON, "paths")}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_TIMEOUT = 60.0


@dataclass(frozen=True)
class Target:
    """One target: an endpoint or files with certificates.

    Args:
        name: value of the label `target`.
        kind: of KINDS.
        address: where it listens; None for files.
        server_name: sent as SNI and as the XMPP stream's `to`; "" for none (RFC 6066 knows no IP addresses).
        host_names: names and addresses the leaf must be valid for.
        ca: file with the trusted certificates; None for those of the system.
        timeout: seconds for one whole probe.
        file: the certificate file that the server should use, None if not configured.
        paths: the files, as glob patterns.
        keys: of `openssl.KEYS`, the kinds of key for which the server must have a certificate; empty to look only at
            the one that it sends by default.
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
    keys: tuple[str, ...] = ()


def load(path: Path) -> tuple[Target, ...]:
    """Read the file; relative paths in it are relative to its folder. Raises ConfigError."""
    top = Section(path, compose(path, "--config.file"), "the file", ("targets",))
    targets: dict[str, Target] = {}
    for node in top.items("targets"):
        entry = Section(path, node, "a target", tuple(dict.fromkeys(key for keys in _KEYS.values() for key in keys)))
        target = _target(entry)
        if target.name in targets:
            entry.wrong("name", "is the name of an earlier target, too; names must be unique")
        targets[target.name] = target
    if not targets:
        raise ConfigError(path, None, "no targets; list at least one under `targets`")
    return tuple(targets.values())


def _target(entry: Section) -> Target:
    name, kind = entry.text("name"), entry.text("kind")
    if not _NAME.fullmatch(name):
        entry.wrong("name", "must be 1 to 64 letters, digits, dots, hyphens or underscores")
    if kind not in KINDS:
        entry.wrong("kind", f"is {kind!r}; possible are {', '.join(KINDS)}")
    entry.allow(_KEYS[kind], f" with kind {kind}")
    ca = entry.text("ca", "system")
    common: dict[str, Any] = {
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
        return Target(**common, host_names=host_names or (), paths=paths)
    address = _address(entry, kind)
    server_name = entry.text("server_name", "" if is_ip(address.host) else address.host)
    if server_name and not is_host_name(server_name):
        entry.wrong("server_name", f"is {server_name!r}, not a host name in ASCII (write xn--... for others)")
    if not server_name and kind.startswith("xmpp"):
        entry.wrong("server_name", "must be given: an XMPP stream is addressed to a domain, not to an IP address")
    if host_names is None:
        host_names = (server_name or address.host,)
    file = entry.path.parent / entry.text("file") if "file" in entry.values else None
    return Target(
        **common, address=address, server_name=server_name, host_names=host_names, file=file, keys=_keys(entry)
    )


def _address(entry: Section, kind: str) -> Address:
    text = entry.text("address")
    try:
        address = Address.parse(text)
    except ArgumentTypeError:
        address = Address("", 0)
    if not address.port or not (is_ip(address.host) or is_host_name(address.host)):
        entry.wrong("address", f"is {text!r}; write host:port, e.g. xmpp.commeazy.com:{_PORTS[kind]}")
    return address


def _host_names(entry: Section) -> tuple[str, ...] | None:
    if "host_names" not in entry.values:
        return None
    names = entry.texts("host_names")
    for name in names:
        if not (is_ip(name) or is_host_name(name)):
            entry.wrong("host_names", f"has {name!r}, which is neither a host name nor an IP address")
    return names


def _keys(entry: Section) -> tuple[str, ...]:
    keys = entry.texts("keys") if "keys" in entry.values else ()
    if wrong := sorted(set(keys) - set(KEYS)):
        entry.wrong("keys", f"has {wrong[0]!r}; possible are {', '.join(KEYS)}")
    return tuple(dict.fromkeys(keys))


def _timeout(entry: Section) -> float:
    try:
        seconds = duration(entry.text("timeout", "5s"))
    except ArgumentTypeError as error:
        entry.wrong("timeout", f"is wrong: {error}")
    if seconds > _LONGEST_TIMEOUT:
        entry.wrong("timeout", f"is above {_LONGEST_TIMEOUT:g}s; a slow target would hold a place among the probes")
    return seconds
