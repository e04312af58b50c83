"""What a run does, as numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """One run.

    Args:
        users: how many.
        seconds: how long they live before a node is lost.
        logins: a second, at most, while everybody comes.
        storm: the same after a node is lost.
        messages: a second, all users together.
        calls: a second, to users who are asleep.
        breaks: connections a second that break and are resumed.
        asleep: share of users whose phones only a push reaches.
        patience: seconds until everybody must be in.
        aftermath: seconds that are watched after all are back and the node is started again.
    """

    users: int
    seconds: float = 150.0
    logins: float = 500.0
    storm: float = 500.0
    messages: float = 20.0
    calls: float = 0.5
    breaks: float = 2.0
    asleep: float = 0.1
    patience: float = 3600.0
    aftermath: float = 90.0


def plan(users: int) -> Plan:
    """Return the plan for so many users: what they do grows with their number, as far as one machine carries it."""
    busy = min(users, 20_000)
    return Plan(users, messages=busy / 500, breaks=busy / 2500, calls=min(2.0, busy / 5000))


def guard(users: int) -> Plan:
    """Return the plan for a short run that only sees whether the numbers are true."""
    return Plan(users, seconds=20.0, messages=20.0, calls=1.0, breaks=2.0, patience=900.0, aftermath=15.0)
