"""What one session and one login cost in a run, for arithmetic about numbers that no machine here carries. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Paper:
    """What one costs, beyond what servers and monitoring take while nobody is there.

    Args:
        prosody: bytes of a Prosody for a session.
        haproxy: bytes of a HAProxy for a connection.
        client: bytes of the users' own program for a user.
        login: seconds of CPU of everything for a login.
        login_prosody: the Prosody's part of it.
        login_users: the users' part of it.
        live: cores that everything uses for a user who lives.
        live_prosody: the Prosody's part of it.
    """

    prosody: float
    haproxy: float
    client: float
    login: float
    login_prosody: float
    login_users: float
    live: float
    live_prosody: float


def paper(result: Mapping[str, Any]) -> Paper:
    """Return what a run says of one session and of one login."""
    users, sessions = result["plan"]["users"], sum(result["by_prosody"].values())
    haproxy = result["costs"]["haproxy"]["rss"] - result["costs_idle"]["haproxy"]["rss"]
    logins = login(result)
    lived = _beyond(result, "they live")
    seconds = result["stages"]["they live"]["seconds"]
    return Paper(
        prosody=(sum(result["memory_full"].values()) - sum(result["memory_empty"].values())) / sessions,
        haproxy=haproxy / result["truth"]["open"],
        client=result["lived"]["client_rss"] / users,
        login=sum(logins.values()),
        login_prosody=logins["prosody"],
        login_users=logins["users"],
        live=sum(lived.values()) / seconds / users,
        live_prosody=lived["prosody"] / seconds / sessions,
    )


def login(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of CPU that a login costs each kind of server."""
    return {kind: cpu / result["plan"]["users"] for kind, cpu in _beyond(result, "everybody logs in").items()}


def _beyond(result: Mapping[str, Any], step: str) -> dict[str, float]:
    """Return the seconds of CPU by kind that a step took beyond what as many seconds take while nobody is there."""
    stage, idle = result["stages"][step], result["stages"]["nobody is there"]
    return {
        kind: max(0.0, cpu - idle["cpu"].get(kind, 0.0) / idle["seconds"] * stage["seconds"])
        for kind, cpu in stage["cpu"].items()
    }
