"""Reads /etc/commeazy/checklist.yml: what only the operator knows: names, addresses, ports. It probes nothing."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from toolkit.documents import Section, compose
from toolkit.values import Address, duration, is_host_name, is_ip

if TYPE_CHECKING:
    import yaml

DEFAULT: Final = Path("/etc/commeazy/checklist.yml")
# What Prosody may keep with the modules of Appendix A: accounts, contact lists, what users publish of themselves.
STORES: Final = (
    *("accounts", "account_*", "auth_tokens", "roster", "roster_*", "blocklist", "private", "vcard", "vcard_*"),
    *("pep", "pep_*", "cloud_notify", "smacks_*", "lastlog", "lastlog2", "cron", "invite_token", "tokens"),
)
_PASSWORD: Final = re.compile(r"^\w+://[^/@]*:[^/]*@")  # before the host of a connection URI


@dataclass(frozen=True)
class Name:
    """A name of the service: its addresses, and the longest TTL in seconds."""

    name: str
    addresses: frozenset[str]
    ttl: float


@dataclass(frozen=True)
class Site:
    """What the operator says; an empty part is not judged.

    Args:
        server: one of the zone's own name servers: only those give the whole TTL.
        names: that it must answer.
        open: ports that must answer from this host; otherwise nothing can be said about the others.
        closed: ports that must not.
        database: libpq's connection string of Prosody's database, without a password.
        directory: Prosody's data directory, where it uses no database.
        stores: patterns of what Prosody may store.
    """

    server: Address | None = None
    names: tuple[Name, ...] = ()
    open: tuple[Address, ...] = ()
    closed: tuple[Address, ...] = ()
    database: str = ""
    directory: Path | None = None
    stores: tuple[str, ...] = STORES


def load(path: Path) -> Site:
    """Read the file. Raises ConfigError: one line that names the file, the line, and what to do."""
    top = Section(path, compose(path, "--site"), "the file", ("dns", "ports", "storage"))
    found = Site()
    if "dns" in top.values:
        dns = Section(path, top.values["dns"].node, "dns", ("server", "names"))
        names = tuple(_name(path, node) for node in dns.items("names"))
        found = _with(found, server=_address(dns, "server", dns.text("server"), 53), names=names)
    if "ports" in top.values:
        ports = Section(path, top.values["ports"].node, "ports", ("open", "closed"))
        lists = {key: tuple(_address(ports, key, text) for text in ports.texts(key)) for key in ("open", "closed")}
        if not lists["open"]:
            ports.wrong("open", "must name a port that answers: without one, a broken network looks like a firewall")
        found = _with(found, **lists)
    if "storage" in top.values:
        storage = Section(path, top.values["storage"].node, "storage", ("database", "directory", "allowed"))
        if ("database" in storage.values) == ("directory" in storage.values):
            storage.wrong(None, "must have either `database` or `directory`")
        database = storage.text("database", "")
        if "password=" in database.replace(" ", "") or _PASSWORD.search(database):
            storage.wrong("database", "must hold no password; name a file with it by passfile= (libpq's password file)")
        directory = Path(storage.text("directory")) if "directory" in storage.values else None
        allowed = storage.texts("allowed") if "allowed" in storage.values else ()
        found = _with(found, database=database, directory=directory, stores=(*STORES, *allowed))
    return found


def _with(site: Site, **changes: object) -> Site:
    return Site(**{**site.__dict__, **changes})


def _name(path: Path, node: yaml.Node) -> Name:
    entry = Section(path, node, "a name", ("name", "addresses", "ttl"))
    addresses = entry.texts("addresses")
    for address in addresses:
        if not is_ip(address):
            entry.wrong("addresses", f"{address!r} is not an IP address")
    if not addresses:
        entry.wrong("addresses", "must have at least one address")
    try:
        ttl = duration(entry.text("ttl", "60s"))
    except ArgumentTypeError as error:
        entry.wrong("ttl", str(error))
    name = entry.text("name")
    if not is_host_name(name):
        entry.wrong("name", f"{name!r} is not a host name in ASCII (write xn--... for others, and no dot at the end)")
    return Name(name, frozenset(addresses), ttl)


def _address(section: Section, key: str, text: str, port: int | None = None) -> Address:
    try:
        address = Address.parse(text if port is None or ":" in text else f"{text}:{port}")
    except ArgumentTypeError as error:
        section.wrong(key, str(error))
    if not address.host or not address.port:
        section.wrong(key, f"{text!r} must have a host and a port")
    if not (is_ip(address.host) or is_host_name(address.host)):
        section.wrong(key, f"{text!r} has neither a host name nor an IP address")
    return address
