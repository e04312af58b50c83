"""The same users against a door that exists: `--target wss://... --accounts FILE`. It measures what users can see."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lab.scale.crowds import Crowds, Entrance
from lab.scale.judge import Judgement, of_life
from lab.scale.run import enter, live, say
from toolkit.documents import ConfigError
from toolkit.values import url

if TYPE_CHECKING:
    from pathlib import Path

    from lab.scale.plan import Plan

_PORTS = {"wss": 443, "ws": 80}


def accounts(path: Path, most: int) -> tuple[str, list[tuple[str, str]]]:
    """Read `user@domain password`, one account a line; return the domain and the first accounts. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, None, f"cannot be read: {error}; check the path and its permissions") from None
    domains: set[str] = set()
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        address, _, password = line.strip().partition(" ")
        user, at, domain = address.partition("@")
        if not (user and at and domain and password.strip()):
            raise ConfigError(path, number, "must hold user@domain, a space, and the password")
        domains.add(domain)
        found.append((user, password.strip()))
    if len(domains) != 1:
        raise ConfigError(path, None, f"has accounts of {len(domains)} domains; all must be of one")
    if len(found) < most:
        raise ConfigError(path, None, f"has {len(found)} accounts and {most} users were asked for; add accounts")
    return domains.pop(), found[:most]


def run(door: str, file: Path, ca: str | None, plan: Plan, log: Path) -> list[Judgement]:
    """Let the accounts of the file use the door for a while; judge what they got. Raises LabError, ConfigError."""
    domain, users = accounts(file, plan.users)
    parts = urlsplit(url(door, ("ws", "wss"), "wss://xmpp.commeazy.com/xmpp-websocket"))
    host = parts.hostname or ""
    place = Entrance(
        domain,
        [(host, parts.port or _PORTS[parts.scheme])],
        parts.path or "/",
        host,
        "" if parts.scheme == "ws" else ca,
        loopback=False,
    )
    with Crowds(place, users, plan.asleep, log) as crowds:
        say(f"{plan.users} users log in ...")
        entered = enter(crowds, plan)
        say(f"  all are in after {entered['seconds']:.0f} s; they live for {plan.seconds:.0f} s ...")
        lived = live(crowds, plan)
        for what, times in (("logins", entered["login_seconds"]), ("messages", lived["message_seconds"])):
            found = (
                f"{name.upper()} {'unknown' if value is None else f'{value:.3f} s'}" for name, value in times.items()
            )
            say(f"  {what}: {', '.join(found)}")
        return of_life(lived)
